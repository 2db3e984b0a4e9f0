"""Every metric that Jamak has: its name, its labels, and which process it belongs to.

docs/metrics.md is made from this page. A process exports what is its own and nothing else, so
there are no zeros of other processes. Knows nothing of where the figures come from.
"""

import platform
from dataclasses import dataclass
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared import __version__

Role = Literal["listener", "feeder", "scaler", "watcher", "retrainer", "captioner", "trainer"]
Kind = Literal["counter", "gauge", "histogram"]

ALL: tuple[Role, ...] = (
    "listener",
    "feeder",
    "scaler",
    "watcher",
    "retrainer",
    "captioner",
    "trainer",
)
"""As the Procfile calls them."""
PRODUCERS: tuple[Role, ...] = ("listener", "feeder")
WORKERS: tuple[Role, ...] = ("captioner", "trainer")
LISTENER: tuple[Role, ...] = ("listener",)
FEEDER: tuple[Role, ...] = ("feeder",)
SCALER: tuple[Role, ...] = ("scaler",)
WATCHER: tuple[Role, ...] = ("watcher",)
RETRAINER: tuple[Role, ...] = ("retrainer",)
CAPTIONER: tuple[Role, ...] = ("captioner",)
TRAINER: tuple[Role, ...] = ("trainer",)

STAGES_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 900, 1800, 3600)
"""A stage of a long video may take an hour."""
WAITS_S = (1, 3, 10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 24 * 3600)
TRAININGS_S = (10, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 10 * 3600, 24 * 3600)


@dataclass(frozen=True)
class Known:
    """One metric, as a scrape shows it."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    of: tuple[Role, ...]
    metric: Collector | None = None
    """None: it is read when it is asked for."""

    @property
    def unit(self) -> str:
        """By its name, as Prometheus wants it."""
        words = self.name.removesuffix("_total").split("_")
        return next((word for word in reversed(words) if word in ("seconds", "bytes")), "")

    def family(self) -> GaugeMetricFamily:
        """Empty, for whoever reads it now."""
        return GaugeMetricFamily(self.name, self.text, labels=self.labels)


KNOWN: dict[str, Known] = {}
"""Name -> metric, in the order of the page."""


def _known(
    name: str,
    kind: Kind,
    text: str,
    labels: tuple[str, ...],
    of: tuple[Role, ...],
    metric: Collector | None = None,
) -> Known:
    KNOWN[name] = Known(name, kind, text, labels, of, metric)
    return KNOWN[name]


# Without a registry: that of a process takes what is its own.


def _counter(name: str, text: str, *labels: str, of: tuple[Role, ...]) -> Counter:
    metric = Counter(name, text, labels, registry=None)
    _known(name, "counter", text, labels, of, metric)
    return metric


def _gauge(name: str, text: str, *labels: str, of: tuple[Role, ...]) -> Gauge:
    metric = Gauge(name, text, labels, registry=None)
    _known(name, "gauge", text, labels, of, metric)
    return metric


def _histogram(
    name: str, text: str, *labels: str, of: tuple[Role, ...], buckets: tuple[float, ...]
) -> Histogram:
    metric = Histogram(name, text, labels, buckets=buckets, registry=None)
    _known(name, "histogram", text, labels, of, metric)
    return metric


def _read(name: str, text: str, *labels: str, of: tuple[Role, ...]) -> Known:
    return _known(name, "gauge", text, labels, of)


BUILD = _gauge(
    "jamak_build_info",
    "1, for the version of Jamak and of Python that runs, and as what.",
    "version",
    "python",
    "role",
    of=ALL,
)
SCRAPE_ERROR = _gauge(
    "jamak_scrape_error",
    "1 if this source could not be read just now; then its gauges are absent.",
    "source",
    of=(*PRODUCERS, *SCALER),
)
SPANS = _counter(
    "jamak_spans_total",
    "Spans of traces: `exported`, or `failed`, for the collector did not take them.",
    "outcome",
    of=ALL,
)

# Of the whole fleet, read by the feeder.

QUEUE_MESSAGES = _read(
    "jamak_queue_messages",
    "Messages that wait in a queue; `alone`: must run alone, because they may have killed workers.",
    "queue",
    "state",
    of=FEEDER,
)
QUEUE_OLDEST = _read(
    "jamak_queue_oldest_age_seconds",
    "Since the next message of a queue was enqueued, including its earlier tries; 0: none waits.",
    "queue",
    of=FEEDER,
)
TENANT_MESSAGES = _read(
    "jamak_tenant_messages",
    "Messages of a tenant that wait in a queue; of the 50 with most, the rest together as ``.",
    "queue",
    "tenant",
    of=FEEDER,
)
TENANT_TAKEN = _read(
    "jamak_tenant_taken_messages",
    "Messages of a tenant that were ever taken from a queue; of the 50 with most, as above.",
    "queue",
    "tenant",
    of=FEEDER,
)
QUEUE_WORKERS = _read("jamak_queue_workers", "Live workers that serve a queue.", "queue", of=FEEDER)
IN_FLIGHT = _read(
    "jamak_messages_in_flight", "Messages that a worker has under lease.", "work", of=FEEDER
)
DELAYED = _read("jamak_messages_delayed", "Messages that wait for another try.", "work", of=FEEDER)
SET_ASIDE = _read(
    "jamak_messages_poison",
    "Messages set aside: nobody can act on them, or their failure cannot be written.",
    "work",
    of=FEEDER,
)
LIVE_WORKERS = _read(
    "jamak_workers", "Live workers of a card class; `train`: trainers.", "class", of=FEEDER
)
WORKER_SLOTS = _read(
    "jamak_worker_slots", "Jobs that these workers can have in hand at once.", "class", of=FEEDER
)
BACKLOGS = _read(
    "jamak_backlogs", "Backlogs of which Redis has heard in the last 30 days.", of=FEEDER
)
BACKLOG_VIDEOS = _read(
    "jamak_backlog_videos", "Videos of a backlog, as far as it is scanned.", "backlog", of=FEEDER
)
BACKLOG_FED = _read(
    "jamak_backlog_fed_videos",
    "Of these, how many were enqueued; absent for a cancelled backlog.",
    "backlog",
    of=FEEDER,
)
BACKLOG_ENDED = _read(
    "jamak_backlog_ended_videos",
    "Of these, how many ended: `done`, or `failed` with the reason.",
    "backlog",
    "outcome",
    "reason",
    of=FEEDER,
)

# What is wanted, by the scaler (docs/scaling.md).

SCALE_WANTED = _read(
    "jamak_scale_wanted",
    "Workers that are wanted of a class that is scaled; `train`: trainers.",
    "class",
    of=SCALER,
)
SCALE_RUNNING = _read(
    "jamak_scale_running", "Live workers of it that take work.", "class", of=SCALER
)
SCALE_UNITS = _read(
    "jamak_scale_units",
    "Units of work of a class: `waiting`, `in_flight`, or `due`, of a backlog with a deadline and "
    "in no queue yet.",
    "class",
    "state",
    of=SCALER,
)
SCALE_ARRIVAL = _read(
    "jamak_scale_arrival_units",
    "Units that arrive in a second, lately; no backlog's.",
    "class",
    of=SCALER,
)
SCALE_RATE = _read(
    "jamak_scale_rate_units",
    "Units in a second of one worker that has its hands full.",
    "class",
    of=SCALER,
)
SCALE_COLD_START = _read(
    "jamak_scale_cold_start_seconds",
    "From when a worker is wanted until it takes work; 9 of 10 take no longer.",
    "class",
    of=SCALER,
)
SCALE_BACKLOG = _read(
    "jamak_scale_backlog_seconds",
    "What the workers that run now would take for all that waits or is in flight.",
    "class",
    of=SCALER,
)
SCALE_AGE = _read(
    "jamak_scale_data_age_seconds",
    "How old this is. After a minute the other gauges are absent.",
    of=SCALER,
)

# A canary's trial, by the watcher (docs/loop.md).

TRIAL_WEIGHED = _read(
    "jamak_trial_weighed_captions",
    "Captions that were weighed in a trial, of the `canary` and the `incumbent`: `good` or `bad`.",
    "base",
    "arm",
    "quality",
    of=WATCHER,
)
TRIAL_AGE = _read(
    "jamak_trial_age_seconds",
    "How long a trial has been under way, of those that are watched.",
    "base",
    "version",
    of=WATCHER,
)
TRIALS = _counter(
    "jamak_trials_total",
    "Trials that this process ended: `promoted`, or `rolled back`.",
    "outcome",
    of=WATCHER,
)

# What feedback starts, by the retrainer (docs/loop.md).

RETRAININGS = _counter(
    "jamak_retrainings_total",
    "Trainings that this process has started because of feedback, by rule.",
    "rule",
    of=RETRAINER,
)
RETRAIN_LAST_LOOK = _gauge(
    "jamak_retrain_last_look_timestamp_seconds",
    "When this process last looked whether feedback is enough for a training; 0: never yet.",
    of=RETRAINER,
)

# Uploads and jobs.

SQS_MESSAGES = _read(
    "jamak_sqs_messages",
    "Events in the SQS queue, approximately: `waiting`, `in_flight` or `delayed`.",
    "state",
    of=LISTENER,
)
SQS_DEAD_LETTERS = _read(
    "jamak_sqs_dead_letters",
    "Events in its dead-letter queue, approximately.",
    of=LISTENER,
)
EVENT_WAIT = _histogram(
    "jamak_event_wait_seconds",
    "From when SQS got an event until the listener received it.",
    of=LISTENER,
    buckets=WAITS_S,
)
EVENTS = _counter("jamak_events_total", "S3 events by what became of them.", "outcome", of=LISTENER)
JOBS_ENQUEUED = _counter(
    "jamak_jobs_enqueued_total", "Jobs that this process put into queues.", "queue", of=PRODUCERS
)

# Results that are told.

RESULTS_WAITING = _read(
    "jamak_results_waiting",
    "Results that JAMAK_RESULTS has still to be told, in Redis; never more than 100,000.",
    of=FEEDER,
)
RESULTS_DROPPED = _read(
    "jamak_results_dropped",
    "Results that were never told, because more waited than that. Their records are in the bucket.",
    of=FEEDER,
)
RESULTS_AWAY = _gauge(
    "jamak_results_away",
    "1 while whoever wants to hear of results takes none; `jamak status` says why.",
    of=FEEDER,
)
RESULTS = _counter(
    "jamak_results_total",
    "Results by what became of them: `sent`, or `refused` eight times and given up.",
    "outcome",
    of=FEEDER,
)

# Captions.

CAPTIONS = _counter(
    "jamak_captions_total",
    "Jobs that ended with a record: `ok`, `partial` or `failed`.",
    "class",
    "adapter",
    "outcome",
    of=CAPTIONER,
)
CAPTION_FAILURES = _counter(
    "jamak_caption_failures_total",
    "Failure records written, by reason (docs/record.schema.json).",
    "class",
    "reason",
    of=CAPTIONER,
)
CAPTION_DUPLICATES = _counter(
    "jamak_caption_duplicates_total", "Jobs whose record was there already.", of=CAPTIONER
)
CAPTION_BUSY = _counter(
    "jamak_caption_busy_seconds_total", "Time spent on jobs, summed over threads.", of=CAPTIONER
)
CAPTION_STAGE = _histogram(
    "jamak_caption_stage_seconds",
    "Time of a job in one stage.",
    "stage",
    of=CAPTIONER,
    buckets=STAGES_S,
)
CAPTION_E2E = _histogram(
    "jamak_caption_e2e_seconds",
    "From the upload of a video to its caption; videos of backlogs are old.",
    of=CAPTIONER,
    buckets=WAITS_S,
)
CAPTION_TOKENS = _counter(
    "jamak_caption_tokens_total",
    "Tokens of captions: `visual`, `prompt` or `generated`.",
    "kind",
    of=CAPTIONER,
)
CAPTION_FLAGS = _counter(
    "jamak_caption_flags_total",
    "Flags of captions that were written, `hdr` for example (docs/record.schema.json).",
    "flag",
    of=CAPTIONER,
)
CAPTION_SYLLABLES = _counter(
    "jamak_caption_syllables_total", "Syllables of Hangul in captions.", of=CAPTIONER
)
CAPTION_LETTERS = _counter(
    "jamak_caption_letters_total",
    "Letters in captions: of `hangul`, or of `other` scripts.",
    "script",
    of=CAPTIONER,
)
ENGINE_ROWS = _gauge(
    "jamak_engine_rows", "Captions that the engine works on just now.", of=CAPTIONER
)
ENGINE_ROWS_MOST = _gauge(
    "jamak_engine_rows_most", "Captions that it can work on at once.", of=CAPTIONER
)
ENGINE_TOKENS = _counter(
    "jamak_engine_tokens_total",
    "Tokens that the engine worked off: of a `prompt`, frames included, or `generated`.",
    "kind",
    of=CAPTIONER,
)
ENGINE_SECONDS = _counter(
    "jamak_engine_seconds_total",
    "Time in which the engine was `busy`, waited for `frames` of jobs in hand, or was `idle`.",
    "state",
    of=CAPTIONER,
)
ENGINE_FIRST_TOKEN = _histogram(
    "jamak_engine_first_token_seconds",
    "From when a caption was asked for, its frames at hand, to its first token.",
    of=CAPTIONER,
    buckets=STAGES_S,
)
ENGINE_SHRUNK = _counter(
    "jamak_engine_shrunk_total",
    "Times that memory ran out in a step: it was done again, with less at once from then on.",
    of=CAPTIONER,
)
ENGINE_FAULTS = _counter(
    "jamak_engine_faults_total",
    "What an idle engine found left behind by captions that were over; more than 0 is a bug.",
    of=CAPTIONER,
)
FEATURES = _counter(
    "jamak_features_total",
    "Looks at frames of a video: `hit`, what the vision tower made of them was kept; or `miss`.",
    "outcome",
    of=CAPTIONER,
)
FEATURES_BYTES = _gauge(
    "jamak_features_bytes", "Memory of what is kept of frames (JAMAK_FEATURES_MIB).", of=CAPTIONER
)
MODEL_LOAD = _gauge(
    "jamak_model_load_seconds",
    "From the start of the worker to its loaded and checked model.",
    of=CAPTIONER,
)
FIRST_CAPTION = _gauge(
    "jamak_first_caption_seconds",
    "From the start of the process to its first record, by stage; up to `ready`, without "
    "`servers`: its cold start.",
    "stage",
    of=CAPTIONER,
)
ADAPTER_INFO = _gauge(
    "jamak_adapter_info",
    "1, for the adapter in use; an empty version: the base model.",
    "version",
    of=CAPTIONER,
)
CANARY_INFO = _gauge(
    "jamak_canary_info",
    "1, for the adapter that is tried here beside the one in use.",
    "version",
    of=CAPTIONER,
)
CANARY_APART = _gauge(
    "jamak_canary_apart",
    "1, while a canary is on trial that this worker does not try, by why: what is in use captions "
    "everything here.",
    "reason",
    of=CAPTIONER,
)
TRIAL_CAPTIONS = _counter(
    "jamak_trial_captions_total",
    "Captions of a trial by its two sides, `canary` and `incumbent`, and by whether anything "
    "speaks against them: `good`, `bad`.",
    "arm",
    "outcome",
    of=CAPTIONER,
)
ADAPTER_SWAP = _histogram(
    "jamak_adapter_swap_seconds",
    "Fetch, verify, validate and switch to an adapter.",
    of=CAPTIONER,
    buckets=STAGES_S,
)
ADAPTERS_REFUSED = _counter(
    "jamak_adapters_refused_total", "Adapters that failed validation.", of=CAPTIONER
)

# Training.

TRAIN_JOBS = _counter(
    "jamak_train_jobs_total",
    "Training jobs that ended here: `published`, or `failed` with the reason.",
    "outcome",
    "reason",
    of=TRAINER,
)
TRAIN_JOB = _histogram(
    "jamak_train_job_seconds",
    "From taking a training job to its published adapter.",
    of=TRAINER,
    buckets=TRAININGS_S,
)

# Delivery.

RETRIES = _counter(
    "jamak_jobs_retried_total", "Jobs sent back for another try.", "task", "reason", of=WORKERS
)
HANDED_ON = _counter(
    "jamak_jobs_handed_on_total", "Jobs left to another worker.", "task", "reason", of=WORKERS
)
REDELIVERED = _counter(
    "jamak_messages_redelivered_total",
    "Messages that this worker took after another one had died or hung with them.",
    of=WORKERS,
)
LEASES_LOST = _counter(
    "jamak_leases_lost_total", "Messages that came to be somebody else's meanwhile.", of=WORKERS
)
POISON = _counter(
    "jamak_messages_poisoned_total",
    "Messages that this worker set aside.",
    of=WORKERS,
)
PAUSED = _gauge(
    "jamak_intake_paused",
    "1 while this worker takes no messages for this reason: its machine is sick, or S3 is away.",
    "reason",
    of=WORKERS,
)
DECODER_REFUSES = _gauge(
    "jamak_decoder_refused",
    "1 if decoder processes are kept from this, 0 if they could do it.",
    "what",
    of=WORKERS,
)
UNTOLD = _counter(
    "jamak_untold_total",
    "What Redis refused for good when it was told how a job ended; its lease ends by itself.",
    of=WORKERS,
)

# The process itself, on Linux.

_PROCESS = "jamak_process_"
_known(f"{_PROCESS}cpu_seconds_total", "counter", "CPU time, user and system.", (), ALL)
_known(f"{_PROCESS}resident_memory_bytes", "gauge", "Memory in use.", (), ALL)
_known(f"{_PROCESS}virtual_memory_bytes", "gauge", "Address space in use.", (), ALL)
_known(f"{_PROCESS}start_time_seconds", "gauge", "When it started, since 1970.", (), ALL)
_known(f"{_PROCESS}open_fds", "gauge", "Open files and sockets.", (), ALL)
_known(f"{_PROCESS}max_fds", "gauge", "How many of them it may have open.", (), ALL)


def registry_of(role: Role, *readings: Collector) -> CollectorRegistry:
    """What a process of this role exports.

    Args:
        readings: what is read when it is asked for.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one
    BUILD.clear()
    BUILD.labels(__version__, platform.python_version(), role).set(1)
    registry = CollectorRegistry()
    # First, for they say in SCRAPE_ERROR how it went.
    for reading in readings:
        registry.register(reading)
    for known in KNOWN.values():
        if role in known.of and known.metric is not None:
            registry.register(known.metric)
    ProcessCollector(namespace="jamak", registry=registry)
    return registry
