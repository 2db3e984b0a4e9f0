"""Stock Celery in the place of our captioners, with the settings that lose least.

    celery --app benchmarks.sickness_peer:app worker

Its task reads the video, works for a while, and writes a record once; whatever is raised meanwhile
is tried again as often as ours tries. It leaves a line in a file of its process for each job.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.delivery_jobs import PEER_TASK
from benchmarks.delivery_worker import stock as app
from shared.bucket.storage import ObjectStore
from shared.errors import Conflict

WORK_S = 0.1
TRIES, LONGEST_S = 8, 30
"""As workers/tasks.py."""

app.conf.update(task_queues=None, task_default_queue="captions", worker_concurrency=4)
store = ObjectStore()


@app.task(
    name=PEER_TASK,
    autoretry_for=(Exception,),
    retry_backoff=True,
    retry_backoff_max=LONGEST_S,
    max_retries=TRIES,
    shared=False,
)
def caption(bucket: str, key: str, output: str, record: str) -> None:
    store.get(bucket, key)
    time.sleep(WORK_S)
    with suppress(Conflict):  # it is there
        store.put(output, record, b"done", if_none_match=True)
    with (Path(os.environ["BENCH_FOLDER"]) / f"{os.getpid()}.ended").open("a") as file:
        file.write(".")
