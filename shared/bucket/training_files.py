"""What people read of a training job, beside what Jamak keeps of it: also of one that failed.

    <prefix>training/<job>/log.txt       what it said (shared/training_log.py)
    <prefix>training/<job>/report.json   settings, data, steps, held-out captions
                                         (shared/training_report.py)
    <prefix>training/<job>/plot.png      its steps, drawn

Written over and over by whoever trains. Nothing that Jamak does depends on them.
"""

from shared.bucket.keys import training_folder
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.errors import Missing
from shared.training_report import TrainReport

KINDS = {
    "log.txt": "text/plain; charset=utf-8",
    "report.json": "application/json",
    "plot.png": "image/png",
}
MOST_BYTES = 16 << 20


class TrainingFiles:
    """`bucket` and `prefix` are those of the output."""

    def __init__(self, store: ObjectStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix

    def put(self, job_id: str, name: str, body: bytes) -> None:
        key = f"{self._folder(job_id)}{name}"
        self._store.put(self._bucket, key, body, content_type=KINDS[name])

    def log(self, job_id: str) -> str:
        """Empty: there is none."""
        try:
            body = self._store.get(self._bucket, f"{self._folder(job_id)}log.txt", MOST_BYTES)
        except Missing:
            return ""
        return body.decode(errors="replace")

    def report(self, job_id: str) -> TrainReport | None:
        """Raises DamagedObject, NewerObject."""
        key = f"{self._folder(job_id)}report.json"
        try:
            return read(self._store, TrainReport, self._bucket, key, most=MOST_BYTES)
        except Missing:
            return None

    def found(self, job_id: str) -> dict[str, str]:
        """Name -> where it is, of those that there are."""
        folder = self._folder(job_id)
        there = {item.key.removeprefix(folder) for item in self._store.list(self._bucket, folder)}
        return {name: f"s3://{self._bucket}/{folder}{name}" for name in KINDS if name in there}

    def _folder(self, job_id: str) -> str:
        return f"{training_folder(self._prefix)}{job_id}/"
