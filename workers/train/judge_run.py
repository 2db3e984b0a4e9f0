"""The subprocess that judges: `python -m workers.train.judge_run JOB WORKDIR [--silent S] [--gpu]`.

It comes after the one that trains, in the same folder, and finds there (run.py) the model, how to
decode, what was seen of videos, how long captions may be, the manifest, and what was trained:

    WORKDIR/judge.json        in: {"version", "against": version or null, "sets": [{"name", "data",
                              "data_sha256", "rows": a file of rows with paths}]}
    WORKDIR/against/          in: the adapter to compare with, unless it is the base model
    WORKDIR/judged/           out: judged.json, judged.md, judged.html
    WORKDIR/result.json       out: {}, or {"error"}
"""

import json
from pathlib import Path
from typing import Any

from shared.cards import CLASSES
from shared.training import TrainJob
from workers.caption.captioner import EngineCaptioner
from workers.model.adapter_files import AdapterShape, read_adapter
from workers.train.data import kept_rows
from workers.train.ending import Ending
from workers.train.engine_captions import Side
from workers.train.judged_sets import JudgedRows
from workers.train.judging import judge
from workers.train.report import report
from workers.train.run import captions_asked, decoders_for, features_of, load_base, run

ROWS = 8
"""Captions at once: as the planner gives the smallest cards, and enough to fill a CPU."""


def judged(job: TrainJob, workdir: Path, ending: Ending) -> dict[str, Any]:
    """Raises as `judge`."""
    asked = json.loads((workdir / "judge.json").read_text(encoding="utf-8"))
    sets = [
        JudgedRows(one["name"], one["data"], one["data_sha256"], kept_rows(workdir / one["rows"]))
        for one in asked["sets"]
    ]
    loaded = load_base(job, workdir / "model")
    shape = AdapterShape.of(loaded.model)

    def side(version: str | None, folder: str) -> Side:
        return Side(version, read_adapter(version, workdir / folder, shape) if version else None)

    def tell(stage: str, done: int, total: int) -> None:
        report("judge", done, total)

    decoders = decoders_for(workdir, sum(len(one.rows) for one in sets))
    try:
        made = judge(
            loaded,
            lambda positions: EngineCaptioner(
                loaded, CLASSES["cpu"], rows=ROWS, positions=positions
            ),
            sets,
            workdir,
            decoders,
            features_of(workdir),
            new=side(asked["version"], "adapter"),
            old=side(asked["against"], "against"),
            frames=job.frames,
            decoding=captions_asked(workdir),
            tell=tell,
        )
    finally:
        decoders.close()
    (workdir / "judged").mkdir()
    for name, content in made.files().items():
        (workdir / "judged" / name).write_bytes(content)
    return {}


if __name__ == "__main__":
    run(judged)
