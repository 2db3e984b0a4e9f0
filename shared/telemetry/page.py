"""`docs/metrics.md`, from what `metrics` says: `python -m shared.telemetry > docs/metrics.md`."""

from collections.abc import Iterator

from shared.telemetry.metrics import ALL, KNOWN, Known, Role

INTRO = """\
# Metrics and probes

Generated from `shared/telemetry` by `python -m shared.telemetry`; a test keeps it true.

Each process of the [Procfile](../Procfile) answers over HTTP on `JAMAK_METRICS_PORT`:

| path | answers |
|---|---|
| `/metrics` | the metrics below, in Prometheus' text format |
| `/livez` | 200 while its main loop moves; 503 when only a restart would help |
| `/readyz` | 200 while it can do its work; 503 with the reason |

The two probes answer with one JSON object, such as
`{"ok": false, "reason": "Redis has not answered for 61 s"}`. In that of a worker, `decoders` says
what its decoder processes are kept from ([video.md](video.md)), and `engine` how much a captioner
has room for, beside what was planned ([engine.md](engine.md)). What the two mean:

| process | `/livez` is 503 when | `/readyz` is 200 when |
|---|---|---|
| listener | its loop has not moved for five minutes | it received from SQS, or found the queue \
full, in the last minute |
| feeder | its loop has not moved for five minutes | bucket and Redis answered in the last minute |
| scaler | its loop has not moved for five minutes | it saw in the last minute what there is to do |
| captioner, trainer | for two lease timeouts it kept no leases, or asked for no message | it has \
loaded and checked its model (the captioner), Redis answered within two lease timeouts, and it \
does not drain |

The port opens at the start. While a captioner loads its model, and while a process waits for a
Redis, S3 or SQS that is not there yet, `/livez` is 200 and `/readyz` 503: a restart would not help.

The port listens on `JAMAK_METRICS_HOST`, by default 127.0.0.1, which nobody outside can reach: in a
container set it to `0.0.0.0` (or `::`), or every probe of the orchestrator fails, and it restarts
the process for ever. Nothing asks for a password there: keep the port inside your network.

In Kubernetes, for each of them:

```yaml
env:
  - {name: JAMAK_METRICS_PORT, value: "9100"}
  - {name: JAMAK_METRICS_HOST, value: 0.0.0.0}
livenessProbe: {httpGet: {path: /livez, port: 9100}, periodSeconds: 10, failureThreshold: 3}
readinessProbe: {httpGet: {path: /readyz, port: 9100}, periodSeconds: 10}
```

Each process exports its own metrics only. What is true of the whole fleet (queues, live workers,
backlogs) is read from Redis by the **feeder** alone, when Prometheus asks, at most every five
seconds. If several feeders run, each of them says the same: write `max by (queue) (…)`, not `sum`.
While Redis or SQS does not answer, its gauges are absent, and `jamak_scrape_error` is 1.

The **scaler** also answers `/v1/scale/<class>` with how many workers are wanted, or with 503
([scaling.md](scaling.md)). Several scalers say the same, too.
"""

LABELS = """\
## Labels

No label holds a key, a job or the name of a worker, so there are never many series.

| label | is |
|---|---|
| `class` | a card class (`jamak cards`); of the fleet's workers and of the scaler also `train`, \
and of workers `other` for one that nobody knows |
| `queue` | `caption.<class>`, `caption.<class>.bulk` or `train` |
| `work` | `captions` or `training` |
| `reason` | a word of the error tree (`shared/errors.py`) |
| `backlog` | the name of one of the 50 newest, each with its 20 most frequent reasons; the rest \
is `other` |
| `adapter`, `version` | an adapter that this worker had in use |
| `what` | `network`, `files`, `memory` (the worker's), `programs` or `processes` |
| `stage` | a stage of a caption, as its record has it in `timings_s`; of a first caption those \
below |

`jamak_first_caption_seconds` says where the time goes between the start of a captioner and its
first record:

| stage | is |
|---|---|
| `process` | the interpreter, Celery and Jamak's own modules |
| `servers` | S3 and Redis answer, and can do what is needed |
| `imports` | torch and transformers |
| `weights` | of the model: found, fetched, on the device |
| `warmup` | the model is checked, and the engine has its memory and its graphs |
| `ready` | decoders and leases; at its end the worker takes work |
| `waits` | for a first job, which is no time of the worker's own |
| `record` | from taking that job to its record |

The first six but `servers` are the worker's *cold start*, which it tells in its beat, too
(`cold_start_s`): an outage at one start says nothing of how long the next ones take. What
comes before the process, a machine and an image, is not in it: Kubernetes knows that. Nine workers
of ten start faster than this; without `sum by (instance)` it says in which stage:

```promql
quantile(0.9, sum by (instance) (jamak_first_caption_seconds{stage!~"servers|waits|record"}))
```

SQS tells programs how many messages wait, but not how old the oldest one is: CloudWatch alone knows
that (`ApproximateAgeOfOldestMessage`). `jamak_event_wait_seconds` has the age of what was received.
The listener's role needs `sqs:GetQueueAttributes` on both queues; without it on the dead-letter
queue, `jamak_sqs_dead_letters` is absent.
"""

RULES = """\
Alerts, each with what to do, and a dashboard are there already: [operations.md](operations.md).
"""

EXAMPLES = (
    (
        "Work waits in a queue that no live worker serves",
        "max by (queue) (jamak_queue_messages) > 0 and max by (queue) (jamak_queue_workers) == 0",
    ),
    (
        "The next message of a queue is older than ten minutes: more workers are needed",
        "max by (queue) (jamak_queue_oldest_age_seconds) > 600",
    ),
    ("Captions a minute", "60 * sum(rate(jamak_captions_total[5m]))"),
    (
        "Share of jobs that fail, by reason",
        "sum by (reason) (rate(jamak_caption_failures_total[15m]))\n"
        "  / scalar(sum(rate(jamak_captions_total[15m])))",
    ),
    (
        "Of each backlog, how much is done",
        "sum by (backlog) (max by (backlog, outcome, reason) (jamak_backlog_ended_videos))\n"
        "  / max by (backlog) (jamak_backlog_videos)",
    ),
    (
        "The slots of the caption workers that are in use; near 1, they are all busy",
        'max(jamak_messages_in_flight{work="captions"})\n'
        '  / sum(max by (class) (jamak_worker_slots{class!="train"}))',
    ),
    (
        "The engine waits for frames; near 1, more jobs in hand (JAMAK_CONCURRENCY) would help",
        'sum(rate(jamak_engine_seconds_total{state="frames"}[5m]))\n'
        '  / sum(rate(jamak_engine_seconds_total{state!="idle"}[5m]))',
    ),
    (
        "The 95th percentile of each stage of a caption",
        "histogram_quantile(0.95,\n"
        "  sum by (le, stage) (rate(jamak_caption_stage_seconds_bucket[10m])))",
    ),
    ("Events that nobody could read", "max(jamak_sqs_dead_letters) > 0"),
    (
        "Nobody can see how the fleet stands",
        "max(jamak_scrape_error) > 0 or absent(jamak_queue_messages)",
    ),
)
"""What it answers, and PromQL."""


def metrics_markdown() -> str:
    return "\n".join((INTRO, *_tables(), LABELS, *_examples()))


def documented(role: Role) -> set[str]:
    """The names that a process of this role exports."""
    return {known.name for known in KNOWN.values() if role in known.of}


def _tables() -> Iterator[str]:
    by_role: dict[tuple[Role, ...], list[Known]] = {}
    for known in KNOWN.values():
        by_role.setdefault(known.of, []).append(known)
    for of, found in by_role.items():
        yield f"## Of {'every process' if of == ALL else ' and '.join(of)}\n"
        yield "| name | type | labels | unit | what it means |\n|---|---|---|---|---|"
        for known in found:
            labels = ", ".join(f"`{label}`" for label in known.labels)
            yield f"| `{known.name}` | {known.kind} | {labels} | {known.unit} | {known.text} |"
        yield ""


def _examples() -> Iterator[str]:
    yield "## Queries to build on\n"
    yield RULES
    for what, query in EXAMPLES:
        yield f"{what}:\n\n```promql\n{query}\n```\n"
