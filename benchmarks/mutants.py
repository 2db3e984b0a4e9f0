"""Is each guarantee held by a test? The code is broken once for each, and its test has to go red.

    python -m benchmarks.mutants [--json] [--quick] [--only NAME] [--jobs N]

What is broken, and which tests have to notice, stands in benchmarks/mutations/*.toml. All of it
happens in copies of the tree. First the named tests run there once with nothing broken, and must be
green; they also say how long a test may take before it counts as one that hangs. `green` is a
guarantee without a test, `stale` a mutation that does not fit the code any more: both exit with 1.
`--json` ends with one object.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.mutated_trees import LIBRARIES, Mutation, Stale, Tree, read_mutations
from benchmarks.programs import begin, duration, parser_of
from infra.local.redis import start_redis
from infra.local.s3 import start_s3

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "mutations"
QUICK = ("contents-share-a-record", "hosts-by-their-beginning")
"""Of unit tests, which start in a moment."""
EACH_S = 4
"""One mutation, on one core."""
MANY = 8
"""From so many on it pays to import the libraries once for all."""
LEAST_LIMIT_S = 120.0
SLOWEST = 10
"""A test hangs when it takes so many times what it takes unbroken, and the least limit besides."""


@dataclass(frozen=True)
class Verdict:
    name: str
    guarantee: str
    colour: str
    """red, green or stale."""
    why: str
    """Of red: what the test complained of, or that it hangs; of stale: what does not fit."""
    seconds: float


def judge(tree: Tree, mutation: Mutation, limit_s: float) -> Verdict:
    began = time.monotonic()
    try:
        with tree.mutated(mutation):
            code, told = tree.run(mutation.tests, limit_s)
        colour, why = {0: ("green", ""), 1: ("red", told), None: ("red", "it hangs")}.get(
            code, ("stale", f"its tests cannot be run: {told}")
        )
    except Stale as error:
        colour, why = "stale", str(error)
    seconds = round(time.monotonic() - began, 1)
    return Verdict(mutation.name, mutation.guarantee, colour, why, seconds)


def unmutated(
    tree: Tree, mutations: Sequence[Mutation], console: Console
) -> Mapping[str, float] | None:
    """How long each mutation's tests may take; None: something is red before anything is broken.

    What is red is given a second chance alone: a red test proves nothing, nor does a busy machine.
    """
    names = sorted({test for mutation in mutations for test in mutation.tests if tree.has(test)})
    console.print(f"first {len(names)} tests with nothing broken …")
    began = time.monotonic()
    failed, took = tree.unbroken(names)
    seconds = time.monotonic() - began
    if failed:
        console.print(f"once more, because they were red: {', '.join(failed)}", markup=False)
        failed, _ = tree.unbroken(failed)
    if failed:
        console.print(f"red with nothing broken: {', '.join(failed)}", markup=False)
        return None
    console.print(f"green, in {seconds:.0f} s")
    return {
        one.name: LEAST_LIMIT_S
        + SLOWEST * sum(took[tree.place_of(test)] for test in one.tests if tree.has(test))
        for one in mutations
    }


def judged(
    trees: Sequence[Tree],
    mutations: Sequence[Mutation],
    limits_s: Mapping[str, float],
    console: Console,
) -> Iterator[Verdict]:
    free: Queue[Tree] = Queue()
    for tree in trees:
        free.put(tree)

    def one(mutation: Mutation) -> Verdict:
        tree = free.get()
        try:
            return judge(tree, mutation, limits_s[mutation.name])
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool, Bars(console=console) as bars:
        bar = bars.add_task("mutations", total=len(mutations))
        for verdict in pool.map(one, mutations):
            bars.advance(bar)
            if verdict.colour != "red" or not console.is_terminal:
                bars.print(f"{verdict.colour}: {verdict.name} {verdict.why}", markup=False)
            yield verdict


@contextmanager
def servers(wanted: bool) -> Iterator[dict[str, str]]:
    """One Redis and one S3 API for all runs; the tests keep to buckets and keys of their own."""
    if not wanted:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="jamak-mutants-") as folder, ExitStack() as running:
        redis, s3 = start_redis(Path(folder) / "redis"), start_s3(Path(folder) / "s3")
        running.callback(redis.stop)
        running.callback(s3.stop)
        told = {"JAMAK_TEST_REDIS_URL": redis.url, "JAMAK_TEST_S3_ENDPOINT": s3.endpoint}
        yield {**s3.env, **told}


def main() -> None:
    parser = parser_of("mutants", __doc__, quick="a handful, of unit tests: seconds")
    parser.add_argument("--only", metavar="NAME", action="append", help="only these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once")
    arguments = begin(parser)
    mutations = read_mutations(FOLDER)
    names = QUICK if arguments.quick else arguments.only
    unknown = set(names or ()) - {mutation.name for mutation in mutations}
    if unknown:
        parser.error(f"no such mutation: {', '.join(sorted(unknown))}")
    mutations = [one for one in mutations if not names or one.name in names]
    jobs = max(1, min(arguments.jobs, len(mutations)))
    console = Console(stderr=True, soft_wrap=True)
    console.print(
        f"{len(mutations)} mutations, {jobs} at once: {duration(len(mutations) * EACH_S // jobs)}"
    )
    with ExitStack() as opened:
        imported = LIBRARIES if len(mutations) >= MANY else ()
        trees = [opened.enter_context(Tree.copied(ROOT, imported)) for _ in range(jobs)]
        env = opened.enter_context(
            servers(any(trees[0].needs_servers(one.tests) for one in mutations))
        )
        for tree in trees:
            tree.env.update(env)
        limits_s = unmutated(trees[0], mutations, console)
        if limits_s is None:
            sys.exit(1)
        verdicts = list(judged(trees, mutations, limits_s, console))
    told = Counter(verdict.colour for verdict in verdicts)
    out = Console(file=sys.stdout)
    out.print(table(verdicts))
    out.print(", ".join(f"{told[colour]} {colour}" for colour in ("red", "green", "stale")))
    if arguments.json:
        print(json.dumps({"counts": told, "mutations": [asdict(one) for one in verdicts]}))
    if told["red"] < len(verdicts):
        sys.exit(1)


def table(verdicts: Sequence[Verdict]) -> Table:
    grid = Table("mutation", "the guarantee that it breaks", "test", "s")
    for one in verdicts:
        colour = f"[{'green' if one.colour == 'red' else 'red'}]{one.colour}[/]"
        why = f" ({one.why})" if one.colour != "red" else ""
        grid.add_row(one.name, one.guarantee, colour + escape(why), f"{one.seconds:.0f}")
    return grid


if __name__ == "__main__":
    main()
