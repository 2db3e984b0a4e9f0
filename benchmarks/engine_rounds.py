"""What was measured in rounds, kept in a file between runs, and what comes of it.

A round of a case is each system's work on it, one after the other. Ratios are those within a round,
so a machine that is slower in one of them does not matter.
"""

import fcntl
import json
import statistics
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Measured = dict[str, Any]
"""Of one system in one round: `cpu_s` a caption, `tokens` a CPU second, `useful_rows`, and `said`:
index of the work -> checksum of the tokens."""
Round = dict[str, Any]
"""System -> Measured."""


def measured(
    indices: Sequence[int], tokens: Sequence[Sequence[int]], cpu_s: float, useful_rows: float
) -> Measured:
    return {
        "cpu_s": cpu_s / len(indices),
        "tokens": sum(map(len, tokens)) / cpu_s,
        "useful_rows": useful_rows,
        "said": {
            str(index): zlib.crc32(array("q", one).tobytes())
            for index, one in zip(indices, tokens, strict=True)
        },
    }


class Kept:
    """The rounds of each case. Several programs may write different cases into one file.

    Args:
        file: what it holds counts, too; None: nothing is kept.
        sizes: of the work; rounds of a case with other work are not mixed with these.
    """

    def __init__(self, file: Path | None, sizes: Mapping[str, Any]) -> None:
        self._file, self._sizes = file, dict(sizes)
        self.found: dict[str, Any] = {"cases": {}, "start": {}}
        if file and file.exists():
            self.found = json.loads(file.read_text())

    @property
    def cases(self) -> dict[str, list[Round]]:
        return {name: case["rounds"] for name, case in self.found["cases"].items()}

    def sizes(self, case: str) -> dict[str, Any]:
        return dict(self.found["cases"][case]["sizes"])

    def rounds(self, case: str) -> list[Round]:
        """Raises ValueError: they were of other work."""
        known = self.found["cases"].get(case, {"sizes": self._sizes, "rounds": []})
        if known["sizes"] != self._sizes:
            raise ValueError(f"{self._file} holds rounds of {case} with {known['sizes']}")
        return list(known["rounds"])

    @property
    def start(self) -> dict[str, Any]:
        return dict(self.found["start"])

    def add(self, case: str, one: Round) -> None:
        def change(found: dict[str, Any]) -> None:
            new = {"sizes": self._sizes, "rounds": []}
            found["cases"].setdefault(case, new)["rounds"].append(one)

        self._change(change)

    def add_start(self, system: str, one: Mapping[str, float]) -> None:
        self._change(lambda found: found["start"].setdefault(system, []).append(dict(one)))

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        if self._file is None:
            change(self.found)
            return
        with self._file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            self.found = json.loads(file.read() or json.dumps(self.found))
            change(self.found)
            file.truncate(0)
            file.write(json.dumps(self.found))


def summary(rounds: Sequence[Round], absent: Mapping[str, str]) -> dict[str, Any]:
    """System -> figures, and `ratios`.

    Args:
        absent: system -> why it is not there.
    """
    right = {index: tokens for one in rounds for index, tokens in one["generate"]["said"].items()}
    systems = dict.fromkeys(name for one in rounds for name in one)
    figures: dict[str, Any] = {
        name: figures_of([one[name] for one in rounds if name in one], right) for name in systems
    }
    del figures["generate"]["equal"], figures["generate"]["compared"]  # with itself
    missing = {name: {"reason": why} for name, why in absent.items() if name not in figures}
    return {**figures, **missing, "ratios": ratios(rounds), "rounds": len(rounds)}


def figures_of(rounds: Sequence[Measured], right: Mapping[str, int]) -> dict[str, float]:
    """Medians. `right` is what `generate` says."""
    pairs = [
        tokens == right[index]
        for one in rounds
        for index, tokens in one["said"].items()
        if index in right
    ]
    return {
        "captions_per_cpu_s": round(1 / statistics.median(one["cpu_s"] for one in rounds), 3),
        "tokens_per_cpu_s": round(statistics.median(one["tokens"] for one in rounds), 1),
        "useful_rows": round(statistics.median(one["useful_rows"] for one in rounds), 3),
        "equal": round(statistics.fmean(pairs), 4),
        "compared": len(pairs),
    }


def ratios(rounds: Sequence[Round]) -> dict[str, Any]:
    """What the others pay for a caption, in what we pay; of static batches the better one."""
    found: dict[str, Any] = {}
    for peer in ("generate", "static", "vllm"):
        each = [
            min(theirs) / one["jamak"]["cpu_s"]
            for one in rounds
            if (theirs := [one[name]["cpu_s"] for name in one if name.partition("_")[0] == peer])
        ]
        found[peer] = spread(each) if each else None
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def share_of(count: int, number: int, parts: int) -> list[int]:
    """Indices of every `parts`-th pair, or of one if there are fewer; other ones in each round."""
    pairs = count // 2
    chosen = range(number % parts, pairs, parts) or [number % pairs]
    return [index for pair in chosen for index in (2 * pair, 2 * pair + 1)]
