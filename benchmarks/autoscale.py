"""How soon is all captioned, and what does it cost, when a policy scales the fleet? Simulated.

    python -m benchmarks.autoscale [--json] [--quick] [--seeds N] [--into FILE]

The policy of `jamak scale` in a simulated cluster (benchmarks/autoscaling), beside KEDA on the
length of a list, SkyPilot's pools, a fixed fleet, and an oracle that knows all beforehand. Medians
over seeds. `--json` ends with one object; docs/autoscale.md says what it means.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, need, parser_of

if TYPE_CHECKING:
    from benchmarks.autoscaling.run import Outcome
    from benchmarks.autoscaling.scenarios import Scenario

QUICK, QUICK_SCENARIOS = 0.1, ("burst", "spot")
"""Of the arrivals, and of the scenarios."""
SEEDS = 5
SLOS_S = (600.0, 900.0, 1200.0, 1800.0)
SCALE_INS = 1000
"""So many at least, where it is asked which pods are ended."""

HEADS = {
    "requested_all_s": "asked s",
    "cost": "USD",
    "cost_ratio_to_oracle": "× oracle",
    "scale_ins": "ended",
    "busy_killed": "busy",
}
"""Short ones, for a terminal."""

Outcomes = dict[tuple[str, str], list["Outcome"]]
"""Of a scenario and a policy: of each seed."""
Runs = dict[str, Callable[["Scenario", int], "Outcome"]]


def policies() -> tuple[Runs, Runs]:
    """Those that are compared, and what else they might have been."""
    from benchmarks.autoscaling import jamak, planned, rivals
    from benchmarks.autoscaling.run import run, run_oracle
    from benchmarks.autoscaling.scaler import Scaler

    def under(policy: type[Scaler]) -> Callable[["Scenario", int], "Outcome"]:
        return lambda scenario, seed: run(scenario, policy, seed)

    compared: Runs = {
        "jamak": under(jamak.Jamak),
        "keda_llen": under(rivals.KedaLlen),
        "skypilot": under(rivals.SkyPilot),
        "fixed": under(planned.Fixed),
        "oracle": run_oracle,
    }
    others: Runs = {
        "keda_slo": under(rivals.KedaLlenSlo),
        "keda_5": under(rivals.KedaLlenDefault),
        "slow_down": under(jamak.Slowly),
    }
    return compared, others


def simulate(names: Sequence[str], scale: float, seeds: Sequence[int]) -> Outcomes:
    from benchmarks.autoscaling.scenarios import SCENARIOS

    compared, others = policies()
    runs = compared | others
    found: Outcomes = {}
    with Bars(console=Console(stderr=True)) as bars:
        bar = bars.add_task("runs", total=len(names) * len(runs) * len(seeds))
        for name in names:
            drawn = [SCENARIOS[name](seed, scale) for seed in seeds]
            for policy, run in runs.items():
                found[name, policy] = []
                for one, seed in zip(drawn, seeds, strict=True):
                    found[name, policy].append(run(one, seed))
                    bars.advance(bar)
    return found


def row(name: str, policy: str, found: Outcomes) -> dict[str, Any]:
    """Medians over the seeds."""
    ours, best = found[name, policy], found[name, "oracle"]
    ratios = [one.cost / other.cost for one, other in zip(ours, best, strict=True)]
    return {
        "name": name,
        "policy": policy,
        "p50_s": middle(one.p50_s for one in ours),
        "p95_s": middle(one.p95_s for one in ours),
        "requested_all_s": middle(one.requested_all_s for one in ours),
        "cost": middle((one.cost for one in ours), digits=2),
        "cost_ratio_to_oracle": middle(ratios, digits=3),
        "scale_ins": middle(one.scale_ins for one in ours),
        "busy_killed": middle(one.busy_killed for one in ours),
        "flaps": middle(one.flaps for one in ours),
    }


def spread(name: str, policy: str, found: Outcomes) -> dict[str, Any]:
    """The least and the most of the seeds."""
    ours, best = found[name, policy], found[name, "oracle"]
    ratios = [one.cost / other.cost for one, other in zip(ours, best, strict=True)]
    return {
        "name": name,
        "policy": policy,
        "p95_s": ends(one.p95_s for one in ours),
        "requested_all_s": ends(one.requested_all_s for one in ours),
        "cost_ratio_to_oracle": ends(ratios, digits=3),
        "busy_killed": ends(one.busy_killed for one in ours),
        "late_share": ends((one.late for one in ours), digits=4),
    }


def middle(numbers: Iterable[float | None], digits: int = 1) -> float | None:
    there = [one for one in numbers if one is not None]
    return round(median(there), digits) if there else None


def ends(numbers: Iterable[float | None], digits: int = 1) -> list[float] | None:
    there = [one for one in numbers if one is not None]
    return [round(min(there), digits), round(max(there), digits)] if there else None


def slos(scale: float, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The burst for other times that a caption may take."""
    from benchmarks.autoscaling.scenarios import SCENARIOS

    compared, _ = policies()
    rows = []
    for slo_s in SLOS_S:
        drawn = [replace(SCENARIOS["burst"](seed, scale), slo_s=slo_s) for seed in seeds]
        found = [compared["jamak"](one, seed) for one, seed in zip(drawn, seeds, strict=True)]
        rows.append(
            {
                "slo_s": slo_s,
                "p50_s": middle(one.p50_s for one in found),
                "p95_s": middle(one.p95_s for one in found),
                "cost": middle((one.cost for one in found), digits=2),
            }
        )
    return rows


def which_pods(scale: float, scale_ins: int) -> list[dict[str, Any]]:
    """Held, by pod-deletion-cost alone, and by nothing: how many are ended before they are done."""
    from benchmarks.autoscaling.jamak import AnyPod, Jamak, NotHeld
    from benchmarks.autoscaling.run import run
    from benchmarks.autoscaling.scenarios import churn

    rows = []
    policies = {"least_and_held": Jamak, "least_in_hand": NotHeld, "newest": AnyPod}
    for name, policy in policies.items():
        ended = killed = seed = 0
        while ended < scale_ins:
            outcome = run(churn(seed, scale), policy, seed)
            ended, killed = ended + outcome.scale_ins, killed + outcome.busy_killed
            seed += 1
        rows.append({"ended": name, "scale_ins": ended, "busy_killed": killed})
    return rows


def goals(found: Outcomes, pods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was aimed at, and the figure that says whether it is reached."""
    names = list(dict.fromkeys(name for name, _ in found))

    def of(name: str, policy: str, what: str) -> Any:
        return row(name, policy, found)[what]

    told = []
    for rival in ("keda_llen", "keda_slo", "keda_5", "skypilot"):
        ratio = of("burst", "jamak", "p95_s") / of("burst", rival, "p95_s")
        told.append((f"burst: p95 over that of {rival}", ratio, 0.25))
        ratio = of("burst", "jamak", "cost") / of("burst", rival, "cost")
        told.append((f"burst: cost over that of {rival}", ratio, 1.1))
    for name in names:
        ratio = of(name, "jamak", "cost_ratio_to_oracle")
        told.append((f"{name}: cost over the oracle's", ratio, 1.25))
    slowest = max(
        one.requested_all_s
        for name in names
        for one in found[name, "jamak"]
        if one.requested_all_s is not None
    )
    told.append(("s until all are asked for, at the most", slowest, 45.0))
    killed = sum(one.busy_killed for name in names for one in found[name, "jamak"])
    told.append(("busy replicas that were ended", killed + pods[0]["busy_killed"], 0))
    return [
        {"goal": goal, "is": round(value, 3), "at_most": most, "reached": value <= most}
        for goal, value, most in told
    ]


def main() -> None:
    parser = parser_of("autoscale", __doc__, quick="two scenarios, a tenth of their arrivals")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the result there, dated")
    arguments = begin(parser)
    need("simpy")
    scale = QUICK if arguments.quick else 1.0
    seeds = range(1, 2 if arguments.quick else 1 + arguments.seeds)
    from benchmarks.autoscaling.scenarios import SCENARIOS

    names = QUICK_SCENARIOS if arguments.quick else tuple(SCENARIOS)
    found = simulate(names, scale, seeds)
    pods = which_pods(scale, 1 if arguments.quick else SCALE_INS)
    compared, others = policies()
    result = {
        "scenarios": [row(name, policy, found) for name in names for policy in compared],
        "spread": [spread(name, policy, found) for name in names for policy in compared],
        "others": [row(name, policy, found) for name in names for policy in others],
        "slos": slos(scale, seeds),
        "pods": pods,
        "goals": goals(found, pods),
        "seeds": len(seeds),
    }
    show(result, Console(file=sys.stdout))
    if arguments.into is not None:
        command = "python -m benchmarks.autoscale --json --into FILE"
        told = {"date": datetime.now(UTC).date().isoformat(), "machine": "simulated time"}
        whole = json.dumps({**told, "command": command, "result": result}, indent=1)
        arguments.into.write_text(f"{whole}\n")
    if arguments.json:
        print(json.dumps(result))


def show(result: Mapping[str, Any], out: Console) -> None:
    for name in ("scenarios", "others", "slos", "pods", "goals"):
        rows = result[name]
        heads = (HEADS.get(head, head.replace("_", " ")) for head in rows[0])
        grid = Table(*heads, box=SIMPLE, padding=(0, 1, 0, 0))
        for one in rows:
            grid.add_row(*(cell(value) for value in one.values()))
        out.print(grid)


def cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.10g}" if isinstance(value, int | float) else str(value or "-")


if __name__ == "__main__":
    main()
