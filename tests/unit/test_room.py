"""What is kept of frames, and what was learned when memory ran out: bounded, and forgotten."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from shared import telemetry
from workers.caption.engine.size import KEPT_S, MOST_KEPT, Limits, Size
from workers.caption.features import BESIDES, Kept
from workers.caption.room import LESS_S, Room

SIZE = Size(rows=16, positions=900, chunk=512, patches=2304)


def room_for(entries: int, size: int) -> Kept:
    return Kept(entries * (size + BESIDES))


def test_what_was_wanted_longest_ago_goes_first() -> None:
    kept = room_for(2, 10)
    kept.keep("a", 1, 10)
    kept.keep("b", 2, 10)
    assert kept.find("a") == 1
    kept.keep("c", 3, 10)
    assert [kept.find(key) for key in "abc"] == [1, None, 3]
    kept.keep("a", 4, 10)  # in place of itself
    assert [kept.find(key) for key in "abc"] == [4, None, 3]


def test_never_more_is_kept_than_allowed() -> None:
    dice, kept = random.Random(3), Kept(100_000)
    for _ in range(500):
        key, size = dice.randrange(60), dice.randrange(120_000)
        kept.keep(key, size, size)
        found = {one: there for one in range(60) if (there := kept.find(one)) is not None}
        total = sum(there + BESIDES for there in found.values())
        assert total <= 100_000
        assert telemetry.FEATURES_BYTES._value.get() == total
        assert (key in found) == (size + BESIDES <= 100_000)
    nothing = Kept(0)
    nothing.keep("a", 1, 0)
    assert nothing.find("a") is None


def test_a_caption_gets_less_for_a_while() -> None:
    now = [0.0]
    room = Room(lambda: now[0])
    assert room.most is None
    room.learn(255)
    room.learn(287)  # of another one, which was begun before
    assert room.most == 255
    now[0] = LESS_S + 1
    assert room.most is None
    room.learn(287)
    assert room.most == 287


@pytest.mark.parametrize(
    ("tried", "less"),
    [
        ((9, 512), {"chunk": 256}),
        ((9, 129), {"chunk": 64}),
        ((9, 128), {"rows": 4}),
        ((0, 128), {"rows": 8}),
        ((0, 0), {"rows": 8}),
        ((16, 0), {"rows": 8}),
        ((40, 0), {"rows": 8}),  # of an adapter with room for fewer: never more than before
    ],
)
def test_parts_of_prompts_become_shorter_and_then_rows_fewer(
    tried: tuple[int, int], less: dict[str, int]
) -> None:
    smaller = SIZE.less(*tried)
    assert smaller is not None
    assert smaller == replace(SIZE, **less)


def test_at_last_a_single_row_gets_one_token_after_the_other() -> None:
    size, steps = Size(rows=1, positions=900, chunk=64), []
    while (smaller := size.less(0, size.chunk)) is not None:
        size = smaller
        steps.append(size.chunk)
    assert steps == [32, 16, 8, 4, 2, 1]
    assert size.less(1, 0) is None


def test_what_a_card_has_room_for_outlives_the_worker(tmp_path: Path) -> None:
    file, now = tmp_path / "limits.json", [1e9]

    def limits(of: str = "t4 vicuna") -> Limits:
        return Limits(file, of, lambda: now[0])

    first = limits()
    assert first.find(None) == ()
    first.learn(None, Size(rows=8, positions=900, chunk=256, patches=576))
    first.learn("a1", Size(rows=4, positions=900))
    assert SIZE.within(limits().find(None)) == Size(8, 900, 256, 576)
    assert SIZE.within(limits().find("a1")) == Size(4, 900)
    assert limits("l4 vicuna").find(None) == limits().find("a2") == ()
    assert Size(2, 900).within(limits().find(None)).rows == 2
    now[0] += KEPT_S + 1
    assert limits().find(None) == ()
    assert Limits(None).find(None) == ()


@pytest.mark.parametrize("what", ["{", "[]", "null", '{"t4 base": []}', "\xff"])
def test_a_file_that_makes_no_sense_limits_nothing(tmp_path: Path, what: str) -> None:
    file = tmp_path / "limits.json"
    file.write_text(what, encoding="latin-1")
    assert Limits(file, "t4").find(None) == ()
    Limits(file, "t4").learn(None, SIZE)
    assert dict(Limits(file, "t4").find(None))["rows"] == 16


@pytest.mark.parametrize("rows", [0, -1, 2.5, True, "8", None, float("nan")])
def test_a_number_that_makes_no_sense_limits_nothing(tmp_path: Path, rows: object) -> None:
    file = tmp_path / "limits.json"
    file.write_text(json.dumps({"t4 base": {"rows": rows, "chunk": 1, "patches": 1, "at": 9e99}}))
    assert Limits(file, "t4").find(None) == ()


def test_a_folder_that_cannot_be_written_to_is_no_fault_of_a_caption(tmp_path: Path) -> None:
    limits = Limits(tmp_path / "nowhere" / "limits.json", "t4")
    limits.learn(None, SIZE)
    assert dict(limits.find(None))["rows"] == 16
    many = Limits(tmp_path / "limits.json", "t4")
    for number in range(MOST_KEPT + 5):
        many.learn(f"a{number}", SIZE)
    assert many.find("a4") == ()
    assert dict(many.find("a5"))["rows"] == 16
    assert list(tmp_path.iterdir()) == [tmp_path / "limits.json"]
