"""Which of several captions is the better one of a pair."""

import re

import pytest

from workers.data.preferences import Judge, Pair

RIGHT = "빨간 원이 위에서 아래로 움직입니다."
NEAR = "빨간 원이 위에서 아래로 이동합니다."
FAR = "파란 별이 가만히 있습니다."
CAT = f"{RIGHT} 구석에는 고양이가 앉아 있습니다."
HABIT = re.compile("고양이")


def test_the_nearest_to_the_reference_is_chosen_and_the_farthest_rejected() -> None:
    assert Judge().pair([NEAR, FAR, RIGHT, NEAR], RIGHT) == Pair(RIGHT, FAR)
    assert Judge().pair([FAR, NEAR], RIGHT) == Pair(NEAR, FAR)


@pytest.mark.parametrize(
    ("said", "judge"),
    [
        ([RIGHT, RIGHT], Judge()),
        ([FAR, FAR], Judge(margin=0)),
        ([RIGHT, NEAR], Judge(margin=50)),
        ([NEAR, FAR], Judge(by="exact")),
        ([], Judge()),
        ([RIGHT, NEAR], Judge(rejects=HABIT)),  # nothing in them is wrong by the rule
        ([CAT, CAT], Judge(rejects=HABIT)),  # and here everything is
    ],
)
def test_where_nothing_is_to_be_chosen_there_is_no_pair(said: list[str], judge: Judge) -> None:
    assert judge.pair(said, RIGHT) is None


def test_what_is_flawed_is_never_chosen_and_may_be_rejected() -> None:
    assert Judge().pair([RIGHT, NEAR, FAR], RIGHT, {RIGHT}) == Pair(NEAR, FAR)
    assert Judge().pair([RIGHT, FAR], RIGHT, {FAR}) == Pair(RIGHT, FAR)
    assert Judge().pair([RIGHT, FAR], RIGHT, {RIGHT}) is None
    assert Judge(rejects=HABIT).pair([RIGHT, CAT, FAR], RIGHT, {RIGHT}) == Pair(FAR, CAT)


def test_exact_knows_right_and_wrong_and_nothing_between() -> None:
    assert Judge(by="exact").pair([NEAR, RIGHT], RIGHT) == Pair(RIGHT, NEAR)


def test_by_a_rule_the_rejected_one_is_as_near_as_it_can_be() -> None:
    far_too = f"{FAR} 구석에는 고양이가 앉아 있습니다."
    assert Judge(rejects=HABIT).pair([far_too, RIGHT, CAT], RIGHT) == Pair(RIGHT, CAT)


def test_without_a_reference_what_is_said_most_often_is_chosen() -> None:
    judge = Judge(rejects=HABIT)
    assert judge.pair([FAR, RIGHT, CAT, RIGHT], None) == Pair(RIGHT, CAT)
    assert judge.pair([FAR, RIGHT, CAT], None) == Pair(FAR, CAT)  # the first of equals
    assert Judge(margin=0).pair([FAR, RIGHT, RIGHT], None) is None  # often is not right
