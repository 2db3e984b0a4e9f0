"""Which reasons failures can have."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.bucket.reasons import check_reason, known_reasons
from producer.verbs.completion import reasons
from shared.errors import ConfigError

ROOT = Path(__file__).parents[2]


def reasons_in(folder: str) -> Iterator[tuple[str, str]]:
    """Class and reason of each error that is written there."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            for line in node.body:
                named = isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
                if named and line.targets[0].id == "reason":  # type: ignore[attr-defined]
                    yield node.name, ast.literal_eval(line.value)  # type: ignore[attr-defined]


def test_every_error_that_a_worker_can_end_a_job_with_is_known() -> None:
    never = {"Retry", "Reject", "LeaseLost", "Draining", "NotForMe", "NewerMessage"}
    never |= {"NewerObject", "WrongModel", "UsageError", "Unfinished", "Conflict"}
    never |= {"SickMachine", "Outage", "Unwritable", "NoRoom", "HandedUp"}
    found = {**dict(reasons_in("shared")), **dict(reasons_in("workers"))}
    assert {"InternalError", "Truncated", "StoreUnavailable"} <= found.keys()
    assert set(known_reasons()) == {reason for name, reason in found.items() if name not in never}


def test_what_is_offered_is_what_is_accepted() -> None:
    assert reasons("") == known_reasons()
    assert reasons("trunc") == ["truncated"]


def test_an_unknown_reason_names_the_nearest_and_all() -> None:
    assert check_reason("truncated") == "truncated"
    with pytest.raises(ConfigError, match="did you mean too_slow") as refused:
        check_reason("Too-Slow")
    assert "internal_error" in refused.value.cure
    with pytest.raises(ConfigError, match="--reason"):
        check_reason("zzz")
    with pytest.raises(ConfigError):
        check_reason("wrong_model")  # such a job is handed on, and never fails
