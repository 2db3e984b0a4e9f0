"""What is on the dashboard, row by row. Knows nothing of Grafana's JSON.

Figures of the whole fleet are told by each feeder, listener and scaler alike: `max by`, never
`sum`. Those of a worker are its own, so they are summed.
"""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["short", "s", "percentunit", "bytes", "cpm", "cps"]


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str
    """With `{{label}}` for each value that tells one line from another."""


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False
    """The lines are parts of one whole."""
    good: tuple[float, float] | None = None
    """Of a stat: from these on it is yellow, and red."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


SLO = Query("jamak:slo_seconds", "promised")

GLANCE = Row(
    "At a glance",
    (
        Panel(
            "Captions a minute",
            "Jobs that ended with a caption, over the last five minutes.",
            "cpm",
            (Query('60 * sum(jamak:captions:rate5m{outcome!="failed"})', "captions"),),
            kind="stat",
        ),
        Panel(
            "Waiting",
            "Messages in the queues of captions, those of backlogs included.",
            "short",
            (Query("sum(jamak:class_waiting)", "messages"),),
            kind="stat",
        ),
        Panel(
            "The next has waited",
            "Of all queues but those of backlogs, the one that is furthest behind.",
            "s",
            (
                Query(
                    'max(jamak_queue_oldest_age_seconds{queue=~"caption[.][^.]+"})',
                    "oldest",
                ),
            ),
            kind="stat",
            good=(450, 900),
        ),
        Panel(
            "Live workers",
            "Of all classes, trainers left out.",
            "short",
            (Query('sum(max by (class) (jamak_workers{class!="train"}))', "workers"),),
            kind="stat",
        ),
        Panel(
            "Failed",
            "Share of the jobs of the last half hour that ended as failures.",
            "percentunit",
            (Query("max(jamak:captions_failed:ratio30m) or vector(0)", "failed"),),
            kind="stat",
            good=(0.02, 0.05),
        ),
        Panel(
            "Alerts",
            "Those of docs/operations.md that fire just now.",
            "short",
            (
                Query(
                    'count(ALERTS{alertname=~"Jamak.+", alertstate="firing"}) or vector(0)',
                    "firing",
                ),
            ),
            kind="stat",
            good=(1, 3),
        ),
    ),
)

WAITING = Row(
    "What waits",
    (
        Panel(
            "Messages by queue",
            "A queue of backlogs (bulk) is kept near its high-water mark by the feeder.",
            "short",
            (Query("sum by (queue) (max by (queue, state) (jamak_queue_messages))", "{{queue}}"),),
            stacked=True,
        ),
        Panel(
            "Age of the next message",
            "Since it was enqueued, its earlier tries included. Backlogs may be old.",
            "s",
            (Query("max by (queue) (jamak_queue_oldest_age_seconds)", "{{queue}}"), SLO),
        ),
        Panel(
            "In flight, delayed, set aside",
            "Delayed messages wait for another try. What was set aside waits for a person.",
            "short",
            (
                Query("max by (work) (jamak_messages_in_flight)", "{{work}} in flight"),
                Query("max by (work) (jamak_messages_delayed)", "{{work}} delayed"),
                Query("max by (work) (jamak_messages_poison)", "{{work}} set aside"),
            ),
        ),
        Panel(
            "Backlogs, done",
            "Share of the videos that ended, as captions or as failures.",
            "percentunit",
            (
                Query(
                    "sum by (backlog) (max by (backlog, outcome, reason)"
                    " (jamak_backlog_ended_videos)) / max by (backlog) (jamak_backlog_videos)",
                    "{{backlog}}",
                ),
            ),
        ),
        Panel(
            "Uploads in SQS",
            "Events that no listener has turned into jobs yet, and those that nobody could read.",
            "short",
            (
                Query("max by (state) (jamak_sqs_messages)", "{{state}}"),
                Query("max(jamak_sqs_dead_letters)", "dead letters"),
            ),
        ),
        Panel(
            "Jobs put into queues",
            "By listeners and feeders, a minute.",
            "cpm",
            (
                Query(
                    "60 * sum by (queue) (rate(jamak_jobs_enqueued_total[$__rate_interval]))",
                    "{{queue}}",
                ),
            ),
        ),
    ),
)

SCALING = Row(
    "How large the fleet is, and should be",
    (
        Panel(
            "Workers wanted and running",
            "`jamak scale explain` says why so many are wanted.",
            "short",
            (
                Query("max by (class) (jamak_scale_wanted)", "{{class}} wanted"),
                Query("max by (class) (jamak_scale_running)", "{{class}} running"),
            ),
        ),
        Panel(
            "Work that is there would take",
            "With the workers that run. For people and alerts; nothing scales on it.",
            "s",
            (Query("max by (class) (jamak_scale_backlog_seconds)", "{{class}}"), SLO),
        ),
        Panel(
            "Units of work",
            "One is a caption of a class's usual frames. Due: of backlogs with a deadline.",
            "short",
            (
                Query(
                    "sum by (class, state) (max by (class, state) (jamak_scale_units))",
                    "{{class}} {{state}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Arriving, and what one worker does",
            "Units a second. The rate is that of a busy worker, with all its rows in use.",
            "cps",
            (
                Query("max by (class) (jamak_scale_arrival_units)", "{{class}} arriving"),
                Query("max by (class) (jamak_scale_rate_units)", "{{class}} of a worker"),
            ),
        ),
        Panel(
            "Slots in use",
            "Of the caption workers that live. Near 1 they are all busy.",
            "percentunit",
            (
                Query(
                    'max(jamak_messages_in_flight{work="captions"})'
                    ' / sum(max by (class) (jamak_worker_slots{class!="train"}))',
                    "in use",
                ),
            ),
        ),
        Panel(
            "Cold start",
            "Nine of ten workers need no longer from their start to their first job.",
            "s",
            (Query("max by (class) (jamak_scale_cold_start_seconds)", "{{class}}"),),
        ),
    ),
)

CAPTIONS = Row(
    "Captions",
    (
        Panel(
            "Captions a minute by class",
            "Jobs that ended with a record: ok, partial or failed.",
            "cpm",
            (
                Query(
                    "60 * sum by (class, outcome) (jamak:captions:rate5m)", "{{class}} {{outcome}}"
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Failures by reason",
            "Of the last five minutes. `jamak failures list` names the videos.",
            "short",
            (
                # A reason's series begins with its first failure, which `increase` does not see.
                Query(
                    "sum by (reason) ((jamak_caption_failures_total"
                    " unless jamak_caption_failures_total offset 5m)"
                    " or increase(jamak_caption_failures_total[5m]))",
                    "{{reason}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "From upload to caption",
            "Of all captions; videos of backlogs are old.",
            "s",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le)"
                    " (rate(jamak_caption_e2e_seconds_bucket[$__rate_interval])))",
                    name,
                )
                for share, name in ((0.5, "half"), (0.95, "95 of 100"))
            ),
        ),
        Panel(
            "Stages of a caption",
            "The 95th percentile of each.",
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (le, stage)"
                    " (rate(jamak_caption_stage_seconds_bucket[$__rate_interval])))",
                    "{{stage}}",
                ),
            ),
        ),
    ),
)

ENGINE = Row(
    "Engines",
    (
        Panel(
            "Rows in use",
            "Captions that engines work on, of the most that they can.",
            "short",
            (
                Query("sum(jamak_engine_rows)", "in use"),
                Query("sum(jamak_engine_rows_most)", "at most"),
            ),
        ),
        Panel(
            "What engines do",
            "Share of their time. Much waiting for frames: more jobs in hand would help.",
            "percentunit",
            (
                Query(
                    "sum by (state) (rate(jamak_engine_seconds_total[$__rate_interval]))"
                    " / scalar(sum(rate(jamak_engine_seconds_total[$__rate_interval])))",
                    "{{state}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Tokens a second",
            "Of prompts, frames included, and generated.",
            "cps",
            (
                Query(
                    "sum by (kind) (rate(jamak_engine_tokens_total[$__rate_interval]))", "{{kind}}"
                ),
            ),
        ),
        Panel(
            "Frames seen before",
            "Share of looks at frames of which the vision tower's work was still in memory.",
            "percentunit",
            (
                Query(
                    'sum(rate(jamak_features_total{outcome="hit"}[$__rate_interval]))'
                    " / sum(rate(jamak_features_total[$__rate_interval]))",
                    "hits",
                ),
            ),
        ),
        Panel(
            "From a start to the first caption",
            "By stage, of nine workers of ten. Machine and image come before.",
            "s",
            (
                Query(
                    "quantile by (stage) (0.9, jamak_first_caption_seconds)",
                    "{{stage}}",
                ),
            ),
        ),
        Panel(
            "Until the first token",
            "The 95th percentile, from when a caption was asked for with its frames at hand.",
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (le)"
                    " (rate(jamak_engine_first_token_seconds_bucket[$__rate_interval])))",
                    "95 of 100",
                ),
            ),
        ),
    ),
)

DELIVERY = Row(
    "Delivery and adapters",
    (
        Panel(
            "Begun again",
            "Redelivered: its worker died or hung. Retried: something around it failed.",
            "cpm",
            (
                Query(
                    "60 * sum(rate(jamak_messages_redelivered_total[$__rate_interval]))",
                    "redelivered",
                ),
                Query(
                    "60 * sum by (reason) (rate(jamak_jobs_retried_total[$__rate_interval]))",
                    "retried: {{reason}}",
                ),
                Query(
                    "60 * sum by (reason) (rate(jamak_jobs_handed_on_total[$__rate_interval]))",
                    "handed on: {{reason}}",
                ),
            ),
        ),
        Panel(
            "Workers that take nothing",
            "By what they lack.",
            "short",
            (Query("sum by (reason) (jamak_intake_paused)", "{{reason}}"),),
            stacked=True,
        ),
        Panel(
            "Adapters in use",
            "Workers by the version that they caption with; none: the base model.",
            "short",
            (Query("count by (version) (jamak_adapter_info)", "{{version}}"),),
            stacked=True,
        ),
        Panel(
            "Leases lost, acks refused",
            "Lost: a worker stood still, or was cut off. Refused: Redis takes no word of an end.",
            "cpm",
            (
                Query("60 * sum(rate(jamak_leases_lost_total[$__rate_interval]))", "leases lost"),
                Query("60 * sum(rate(jamak_untold_total[$__rate_interval]))", "refused by Redis"),
            ),
        ),
        Panel(
            "Results to be told",
            "Of JAMAK_RESULTS, to a topic, a bus or a webhook.",
            "short",
            (
                Query("max(jamak_results_waiting)", "waiting"),
                Query("max(jamak_results_dropped)", "never told"),
            ),
        ),
        Panel(
            "Memory of processes",
            "The largest of each kind.",
            "bytes",
            (
                Query(
                    "max by (role) (jamak_process_resident_memory_bytes"
                    " * on (instance) group_left (role) jamak_build_info)",
                    "{{role}}",
                ),
            ),
        ),
    ),
)

ROWS = (GLANCE, WAITING, SCALING, CAPTIONS, ENGINE, DELIVERY)
