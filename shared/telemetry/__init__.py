"""What a process says about itself: logs, metrics, and the answers to an orchestrator's probes.

`logs` writes JSON lines; `repeated` tells what would fill them; `metrics` has every metric's name;
`reading` is for gauges that are read when they are asked for; `health` says whether a loop moves;
`probes` serves `/metrics`, `/livez` and `/readyz`; `python -m shared.telemetry > docs/metrics.md`
writes the page.
"""

from shared.telemetry.logs import configure_logging, get_logger, log_everything, refusing
from shared.telemetry.metrics import (
    ADAPTER_INFO,
    ADAPTER_SWAP,
    ADAPTERS_REFUSED,
    CAPTION_BUSY,
    CAPTION_DUPLICATES,
    CAPTION_E2E,
    CAPTION_FAILURES,
    CAPTION_STAGE,
    CAPTION_TOKENS,
    CAPTIONS,
    DECODER_REFUSES,
    ENGINE_FIRST_TOKEN,
    ENGINE_ROWS,
    ENGINE_ROWS_MOST,
    ENGINE_SECONDS,
    ENGINE_TOKENS,
    EVENT_WAIT,
    EVENTS,
    HANDED_ON,
    JOBS_ENQUEUED,
    LEASES_LOST,
    MODEL_LOAD,
    PAUSED,
    POISON,
    RETRIES,
    TRAIN_JOB,
    TRAIN_JOBS,
    UNTOLD,
)
from shared.telemetry.repeated import Repeated

__all__ = [
    "ADAPTERS_REFUSED",
    "ADAPTER_INFO",
    "ADAPTER_SWAP",
    "CAPTIONS",
    "CAPTION_BUSY",
    "CAPTION_DUPLICATES",
    "CAPTION_E2E",
    "CAPTION_FAILURES",
    "CAPTION_STAGE",
    "CAPTION_TOKENS",
    "DECODER_REFUSES",
    "ENGINE_FIRST_TOKEN",
    "ENGINE_ROWS",
    "ENGINE_ROWS_MOST",
    "ENGINE_SECONDS",
    "ENGINE_TOKENS",
    "EVENTS",
    "EVENT_WAIT",
    "HANDED_ON",
    "JOBS_ENQUEUED",
    "LEASES_LOST",
    "MODEL_LOAD",
    "PAUSED",
    "POISON",
    "RETRIES",
    "TRAIN_JOB",
    "TRAIN_JOBS",
    "UNTOLD",
    "Repeated",
    "configure_logging",
    "get_logger",
    "log_everything",
    "refusing",
]
