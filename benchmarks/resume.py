"""Is a training that is killed again and again the same as one that is left alone?

    python -m benchmarks.resume [--json] [--quick]

Each job is trained twice over a real Redis, a real S3 API and the `celery` command: once by a
worker that nobody disturbs, and once with kills. A worker, or the training itself, is killed by
SIGKILL at a random step; while a checkpoint is uploaded, before and after its files; after the last
checkpoint and before anything is published; while the adapter is published; and after that, before
the job is acknowledged. Each time another worker goes on. And one is frozen while another goes on
with its job, and thawed: that is no kill, and must change nothing.

`bit_equal`: every loss is the same number and the adapter the same bytes, of SFT and DPO, in fp32
and NF4. `published` counts the adapters of a job, `steps_repeated_max` the steps that were trained
again after a kill, `first_step_s_max` the seconds from a model that is there to the first step of
who went on, on a machine that has seen none of the videos. `--json` ends with one object.
"""

import json
import os

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, need, parser_of


def main() -> None:
    parser = parser_of("resume", __doc__, quick="one job, one kill")
    parser.add_argument("--seed", type=int, default=0, help="of the steps at which is killed")
    arguments = begin(parser)
    need("moto", "trl", "peft")
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.resume_jobs import FULL, QUICK, run_all, told

    console = Console(stderr=True)
    reports = run_all(QUICK if arguments.quick else FULL, arguments.seed, console.print)
    table = Table("job", "steps", "kills", "bit-equal", "repeated, most", "published", "first step")
    for one in reports:
        kills = ", ".join(one.kills) or "-"
        equal = "yes" if one.bit_equal else "NO"
        figures = str(one.repeated), str(one.published), f"{one.first_step_s:.1f} s"
        table.add_row(one.name, str(one.steps), kills, equal, *figures)
    console.print(table)
    if arguments.json:
        print(json.dumps(told(reports)))


if __name__ == "__main__":
    main()
