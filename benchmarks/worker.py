"""What a whole worker costs, from the store to the record: with the engine, and without.

    python -m benchmarks.worker [--json] [--quick] [--rounds N] [--videos N] [--only CASE...]
                                [--into FILE]

Two Celery workers with real decoders, Redis and an S3 API: ours, and the same with a captioner that
lets one caption at a time through `generate`. In each round both get videos that they have not
seen; the second one a quarter of them, of the same mean length. Cases: a model of random weights
(46 M parameters) with 4 frames and 20 to 200 new tokens; and the demo model. `speedup` is the ratio
of CPU seconds a caption within a round, of the worker and its decoders. `frame_wait_share` is the
part of the engine's time in which jobs were in hand and none had frames yet. `again` are the same
videos under another recipe. `equal` is the share of captions that both tell alike. With --into,
rounds are kept in a file, and those that it holds count. `--json` ends with one object.
"""

import json
import os
import random
import statistics
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.engine_rounds import Kept, Round, share_of, spread
from benchmarks.programs import begin, parser_of
from benchmarks.worker_side import Side, environment
from infra.demo.clips import Clip, film
from infra.demo.scenes import sample_scenes
from infra.local.stack import DEMO_MODEL, LocalStack
from shared.messages import CaptionJob, Decoding, Recipe, Sampling, Video
from shared.prompts import BASE_PROMPT

FRAMES, QUICK_VIDEOS, SHARES = 4, 4, 4
WARM, QUICK_WARM = 8, 2
"""Videos before the first round: until all decoders have been started, too."""
OLD_THREADS = "4"
"""Jobs in hand of a worker without an engine: one is decoded while another one runs."""
NEW_TOKENS, DEMO_TOKENS = (20, 200), (96, 96)

err = Console(stderr=True)


@dataclass(frozen=True)
class Case:
    name: str
    checkpoint: Path
    clip: Clip
    new_tokens: tuple[int, int]


def compare(case: Case, stack: LocalStack, rounds: int, videos: int, warm: int, kept: Kept) -> None:
    films = filmed(case, stack.directory / case.name, videos + warm)
    lengths = mixed(videos, case.new_tokens)
    env = environment(case.checkpoint, case.new_tokens[1])
    old = {**env, "JAMAK_CONCURRENCY": OLD_THREADS}
    with ExitStack() as running:
        sides = [Side("jamak", stack, env), Side("one_at_a_time", stack, old)]
        for side in sides:
            running.callback(side.close)
        for side in sides:
            side.wait()
            side.make(uploaded(stack, case, "warm", films[videos:], [case.new_tokens[0]] * warm))
        first = len(kept.rounds(case.name))
        for number in range(first, first + rounds):
            jobs = uploaded(stack, case, str(number), films[:videos], lengths)
            one: Round = {}
            for side in sides:
                mine = jobs
                if side.name != "jamak":
                    chosen = share_of(videos, number, SHARES)
                    mine = {name: jobs[name] for name in map(str, chosen)}
                one[side.name] = asdict(side.make(mine))
            again = {name: with_generation(job, 1) for name, job in jobs.items()}
            one["again"] = asdict(sides[0].make(again))
            for name, made in one.items():
                said = f"{name}: {made['cpu_s']:.3f} CPU s a caption"
                err.print(f"{case.name} {number + 1} {said}", highlight=False)
            kept.add(case.name, one)


def with_generation(job: CaptionJob, generation: int) -> CaptionJob:
    """The same, but another record."""
    recipe = job.recipe.model_copy(update={"generation": generation})
    return job.model_copy(update={"recipe": recipe})


def mixed(count: int, new_tokens: tuple[int, int]) -> list[int]:
    """Two that follow each other have as many together as any other two."""
    rng = random.Random(0)  # noqa: S311  # no secret
    least, most = new_tokens
    lengths: list[int] = []
    while len(lengths) < count:
        length = rng.randint(least, most)
        lengths += [length, least + most - length]
    return lengths[:count]


def filmed(case: Case, folder: Path, count: int) -> list[bytes]:
    folder.mkdir()
    scenes = sample_scenes(count, 7, split="train")
    return [
        film(scene, replace(case.clip, seed=number), folder / str(number)).read_bytes()
        for number, scene in enumerate(scenes)
    ]


def uploaded(
    stack: LocalStack, case: Case, name: str, films: Sequence[bytes], lengths: Sequence[int]
) -> dict[str, CaptionJob]:
    """The same pictures in other files, so that nothing can be known of them."""
    s3, jobs = stack.s3.s3(), {}
    for number, (body, length) in enumerate(zip(films, lengths, strict=True)):
        key = f"{case.name}/{name}/{number}.mp4"
        mark = f"{name:>8.8}".encode()
        body += struct.pack(">I4s8s", 16, b"free", mark)  # a box that players pass over
        tag = s3.put_object(Bucket=stack.videos_bucket, Key=key, Body=body)["ETag"].strip('"')
        recipe = Recipe(
            prompt=BASE_PROMPT,
            sampling=Sampling(frames=FRAMES),
            model="benchmark",
            revision="1",
            decoding=Decoding(max_new_tokens=length),
        )
        video = Video(bucket=stack.videos_bucket, key=key, etag=tag, size_bytes=len(body))
        jobs[str(number)] = CaptionJob(video=video, recipe=recipe)
    return jobs


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    ours, old, again = (
        [one[name] for one in rounds] for name in ("jamak", "one_at_a_time", "again")
    )
    pairs = [
        one["jamak"]["texts"][number] == text
        for one in rounds
        for number, text in one["one_at_a_time"]["texts"].items()
    ]

    def ratio(what: str) -> dict[str, float]:
        return spread([theirs[what] / one[what] for one, theirs in zip(ours, old, strict=True)])

    def median(what: str) -> float:
        return round(statistics.median(one[what] for one in ours), 3)

    waits = [one["engine_s"].get("frames", 0.0) for one in ours]
    busy = [one["engine_s"].get("busy", 0.0) for one in ours]
    share = [wait / (wait + work) for wait, work in zip(waits, busy, strict=True)]
    return {
        "speedup": ratio("cpu_s"),
        "wall_speedup": ratio("wall_s"),
        "frame_wait_share": round(statistics.median(share), 4),
        **{name: median(name) for name in ("rows_mean", "first_token_s", "tokens_per_s")},
        "again": {
            "of_first": spread(
                [more["cpu_s"] / one["cpu_s"] for one, more in zip(ours, again, strict=True)]
            ),
            "hit_share": round(statistics.median(one["hit_share"] for one in again), 4),
        },
        "captions": sum(len(one["texts"]) for one in ours),
        "equal": round(statistics.fmean(pairs), 4),
        "compared": len(pairs),
        "rounds": len(rounds),
        "cpu_s": {name: parts(each) for name, each in (("jamak", ours), ("one_at_a_time", old))},
        "stages": {name: stages(each) for name, each in (("jamak", ours), ("one_at_a_time", old))},
    }


def parts(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of a caption."""
    return {
        "all": round(statistics.median(one["cpu_s"] for one in rounds), 4),
        "decoders": round(statistics.median(one["decoding_cpu_s"] for one in rounds), 4),
    }


def stages(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Shares of a job's time, from when it is taken to its record."""
    means = {
        stage: statistics.median(one["stages_s"].get(stage, 0.0) for one in rounds)
        for stage in rounds[0]["stages_s"]
    }
    whole = sum(means.values()) or 1.0
    return {stage: round(seconds / whole, 4) for stage, seconds in means.items()}


def cases_of(folder: Path, *, quick: bool) -> list[Case]:
    small = Clip(0, duration_s=1.0 if quick else 2.0)
    demo = Case("demo", DEMO_MODEL, small, DEMO_TOKENS)
    if quick:
        return [demo]
    from benchmarks.engine_work import LARGE, random_checkpoint

    checkpoint = random_checkpoint(folder / "random", LARGE)
    return [Case("4_frames", checkpoint, Clip(0, 640, 360, 24, 5.0), NEW_TOKENS), demo]


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = parser_of("worker", __doc__, quick="the demo model, one short round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--videos", type=int, default=32, help="in a round; an even number")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="only these cases")
    parser.add_argument("--into", type=Path, metavar="FILE", help="keep rounds, and add to them")
    arguments = begin(parser)
    rounds = 1 if arguments.quick else arguments.rounds
    videos = QUICK_VIDEOS if arguments.quick else arguments.videos
    warm = QUICK_WARM if arguments.quick else WARM
    kept = Kept(arguments.into, {"videos": videos, "quick": arguments.quick})
    with tempfile.TemporaryDirectory(prefix="jamak-worker-") as name:
        for case in cases_of(Path(name), quick=arguments.quick):
            if case.name in (arguments.only or [case.name]):
                with LocalStack(processes=()) as stack:
                    compare(case, stack, rounds, videos, warm, kept)
    cases = {name: {**summary(each), **kept.sizes(name)} for name, each in kept.cases.items()}
    show(cases)
    first = next(iter(cases.values()), {})
    top = {name: first.get(name) for name in ("speedup", "frame_wait_share", "rows_mean")}
    if arguments.json:
        print(json.dumps({**top, "cases": cases}))


def show(cases: Mapping[str, dict[str, Any]]) -> None:
    grid = Table("", *cases)
    for what in next(iter(cases.values()), {}):
        grid.add_row(what.replace("_", " "), *(f"{one[what]}" for one in cases.values()))
    Console(file=sys.stdout).print(grid)


if __name__ == "__main__":
    main()
