"""Structured logs and Prometheus metrics: the names are here, so that both sides use the same."""

import logging
import sys

import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.typing import Processor

STAGES_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)

CAPTIONS_DONE = Counter(
    "caption_done", "Captions and failures written.", ["class", "adapter", "outcome"]
)
CAPTION_DUPLICATES = Counter("caption_duplicates", "Jobs whose record was there already.")
RETRIES = Counter("jobs_retried", "Jobs sent back for another try.", ["task", "reason"])
CAPTION_BUSY = Counter("caption_busy_seconds", "Seconds spent on jobs, summed over threads.")
CAPTION_STAGE = Histogram(
    "caption_stage_seconds", "Seconds of a job by stage.", ["stage"], buckets=STAGES_S
)
CAPTION_E2E = Histogram(
    "caption_e2e_seconds", "From the upload of a video to its caption.", buckets=(*STAGES_S, 1000)
)
CAPTION_TOKENS = Counter("caption_tokens", "Tokens of captions.", ["kind"])
MODEL_LOAD = Gauge("caption_model_load_seconds", "How long the model took to load.")
ADAPTER_INFO = Gauge("caption_adapter_info", "1 for the adapter in use.", ["version"])
ADAPTER_SWAP = Histogram("caption_adapter_swap_seconds", "Fetch, verify, validate and switch.")
ADAPTER_REFUSED = Counter("caption_adapter_refused", "Adapters that failed validation.")
LEASES_LOST = Counter("leases_lost", "Messages that came to be somebody else's meanwhile.")
POISON = Counter("messages_poisoned", "Messages set aside because nobody can act on them.")
WATCHDOG_EXITS = Counter("watchdog_exits", "Times that a worker ended because it was stuck.")
HANDED_ON = Counter("jobs_handed_on", "Jobs left to another worker.", ["task", "reason"])
EVENTS = Counter("ingest_events", "S3 events by what became of them.", ["outcome"])
JOBS_ENQUEUED = Counter("ingest_jobs_enqueued", "Jobs put into queues.", ["queue"])


def configure_logging(level: str) -> None:
    """One JSON object a line on stderr, from our code and from the libraries' loggers alike."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # what nobody sees costs nothing
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("botocore", "boto3", "urllib3", "s3transfer", "celery.worker.strategy", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
