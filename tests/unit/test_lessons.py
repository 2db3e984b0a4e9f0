"""What is learned where people say the same of a caption, change their mind, or disagree."""

import random
from typing import Any

import pytest

from producer.feedback import rows as module
from producer.feedback.captions import Known
from producer.feedback.lessons import addresses_of, all_said, lessons_of
from producer.feedback.rows import rows_of, written
from producer.feedback.store import Item
from shared.feedback import Feedback, about, feedback_name, text_digest
from shared.feedback import written as as_written
from shared.prompts import BASE_PROMPT
from shared.rows import Stage
from shared.settings import Settings
from tests.feedback import said
from tests.records import caption
from workers.train import manifest

CAPTION = "고양이가 잡니다."
ABOUT = about(caption(CAPTION), "s3://out/records/b/x/k.json")
OTHER = about(
    caption(CAPTION).model_copy(
        update={"video": caption("").video.model_copy(update={"key": "other"})}
    ),
    "s3://out/records/b/x/other.json",
)

ANOTHER = OTHER.model_copy(update={"video": OTHER.video.model_copy(update={"etag": "another"})})


def item(said: Feedback) -> Item:
    return Item(feedback_name(as_written(said)), said)


def up(reviewer: str, at_s: float = 0, up: bool = True) -> Item:
    return item(said("thumb", ABOUT, "", reviewer, at_s, up=up))


def down(reviewer: str, at_s: float = 0) -> Item:
    return up(reviewer, at_s, up=False)


def corrected(reviewer: str, text: str, at_s: float = 0) -> Item:
    return item(said("correction", ABOUT, "", reviewer, at_s, text=text))


def preferred(reviewer: str, chosen: str, at_s: float = 0) -> Item:
    return item(said("preference", ABOUT, CAPTION, reviewer, at_s, chosen=chosen))


def learned(*items: Item) -> tuple[list[Item], dict[str, str]]:
    """The items that decide; and of the others, why they do not."""
    shuffled = list(items)
    random.Random(len(items)).shuffle(shuffled)
    lessons, left_out = lessons_of(shuffled)
    assert {one.id for one in lessons} | {one.id for one in left_out} <= {one.id for one in items}
    return [one.item for one in lessons], {one.id: one.why for one in left_out}


def says(*items: Item) -> list[str]:
    return [one.says for one in lessons_of(items)[0]]


LATER = "the same reviewer said something later"
TIED = "as many reviewers say the opposite"
MINORITY = "most reviewers say the opposite"


def test_two_who_agree_are_one_lesson() -> None:
    first, second = up("kim"), up("lee", 1)
    assert learned(first, second) == ([second], {})


def test_a_lesson_is_the_same_whoever_says_it_and_whenever() -> None:
    for say in (
        lambda who, at: up(who, at),
        lambda who, at: down(who, at),
        lambda who, at: corrected(who, "개가 잡니다.", at),
        lambda who, at: preferred(who, "개가 잡니다.", at),
    ):
        assert says(say("kim", 0)) == says(say("lee", 9)) == says(say("kim", 0), say("lee", 9))
    different = [
        up("kim"),
        down("kim"),
        corrected("kim", "개가 잡니다."),
        corrected("kim", "소가 잡니다."),
        preferred("kim", "개가 잡니다."),
        preferred("kim", "소가 잡니다."),
        item(said("preference", ABOUT, "개가 잡니다.", chosen=CAPTION)),
        item(said("thumb", ANOTHER, up=True)),
    ]
    assert says(item(said("thumb", OTHER, up=True))) == says(up("kim"))  # of a copy of the film
    assert len({tuple(says(one)) for one in different}) == len(different)


def test_what_one_person_says_later_counts() -> None:
    before, after = up("kim"), down("kim", 1)
    assert learned(before, after) == ([after], {before.id: LATER})


def test_a_thumb_down_after_ones_own_correction_takes_nothing_back() -> None:
    correction, thumb = corrected("kim", "개가 잡니다."), down("kim", 1)
    assert learned(correction, thumb) == ([correction, thumb], {})


def test_a_thumb_up_takes_back_ones_own_correction() -> None:
    correction, thumb = corrected("kim", "개가 잡니다."), up("kim", 1)
    assert learned(correction, thumb) == ([thumb], {correction.id: LATER})


def test_two_who_disagree_teach_nothing() -> None:
    one, other = up("kim"), down("lee", 1)
    assert learned(one, other) == ([], {one.id: TIED, other.id: TIED})
    one, other = up("kim"), corrected("lee", "개가 잡니다.")
    assert learned(one, other) == ([], {one.id: TIED, other.id: TIED})


def test_a_third_decides() -> None:
    one, other, third = up("kim"), corrected("lee", "개가 잡니다.", 1), down("park", 2)
    assert learned(one, other, third) == ([other, third], {one.id: MINORITY})


def test_one_person_has_one_voice_however_often_it_is_raised() -> None:
    items = [up("kim", n) for n in range(3)]
    against = down("lee", 9)
    assert learned(*items, against)[0] == []


def test_two_corrections_agree_that_it_is_wrong() -> None:
    one, other = corrected("kim", "개가 잡니다."), corrected("lee", "소가 잡니다.", 1)
    again = corrected("park", "개가 잡니다.", 2)
    assert learned(one, other, again) == ([other, again], {})


def test_two_preferences_the_other_way_round_teach_nothing() -> None:
    better = preferred("kim", "개가 잡니다.")
    chosen = item(
        said("preference", ABOUT, "개가 잡니다.", "lee", 1, chosen=CAPTION)  # the other way round
    )
    assert learned(better, chosen) == ([], {better.id: TIED, chosen.id: TIED})
    third = preferred("park", "개가 잡니다.", 2)
    assert learned(better, chosen, third) == ([third], {chosen.id: MINORITY})


def compared(chosen: str, rejected: str, reviewer: str, at_s: float = 0) -> Item:
    """Of two texts, whichever of them is the caption."""
    about = ABOUT.model_copy(update={"text_sha256": text_digest(rejected)})
    return item(said("preference", about, rejected, reviewer, at_s, chosen=chosen))


def test_a_correction_and_a_preference_of_the_same_texts_are_one_question() -> None:
    correction, opposite = (
        corrected("kim", "개가 잡니다."),
        compared(CAPTION, "개가 잡니다.", "lee", 1),
    )
    assert learned(correction, opposite) == ([], {correction.id: TIED, opposite.id: TIED})
    third = corrected("park", "개가 잡니다.", 2)
    assert learned(correction, opposite, third) == ([third], {opposite.id: MINORITY})
    third = compared(CAPTION, "개가 잡니다.", "park", 2)
    assert learned(correction, opposite, third) == ([third], {correction.id: MINORITY})
    same = preferred("lee", "개가 잡니다.", 1)
    assert learned(correction, same) == ([correction, same], {})


def test_a_correction_and_a_thumb_down_for_its_text_are_one_question() -> None:
    correction = corrected("kim", "개가 잡니다.")
    corrected_to = ABOUT.model_copy(update={"text_sha256": text_digest("개가 잡니다.")})
    thumb = item(said("thumb", corrected_to, "", "lee", 1, up=False))
    assert learned(correction, thumb) == ([], {correction.id: TIED, thumb.id: TIED})
    thumb = item(said("thumb", corrected_to, "", "lee", 1, up=True))
    assert learned(correction, thumb) == ([correction, thumb], {})


def test_who_corrects_his_own_correction_means_the_later() -> None:
    first = corrected("kim", "개가 잡니다.")
    about = ABOUT.model_copy(update={"text_sha256": text_digest("개가 잡니다.")})
    second = item(said("correction", about, "", "kim", 1, text="소가 잡니다."))
    assert learned(first, second) == ([second], {first.id: LATER})
    other = item(said("correction", about, "", "kim", 1, text=CAPTION))
    assert learned(first, other) == ([other], {first.id: LATER})


def test_two_captions_with_one_correction_are_two_lessons() -> None:
    about = ABOUT.model_copy(update={"text_sha256": text_digest("소가 잡니다.")})
    one, other = (
        corrected("kim", "개가 잡니다."),
        item(said("correction", about, "", "kim", 1, text="개가 잡니다.")),
    )
    assert learned(one, other) == ([one, other], {})


def test_the_same_text_of_another_video_is_another_caption() -> None:
    one, other = up("kim"), item(said("thumb", ANOTHER, "", "lee", up=False))
    assert len(learned(one, other)[0]) == 2


def test_of_a_film_under_two_keys_people_speak_as_of_one() -> None:
    one, other = up("kim"), item(said("thumb", OTHER, "", "lee", up=False))
    assert learned(one, other) == ([], {one.id: TIED, other.id: TIED})
    again = item(said("thumb", OTHER, "", "kim", 1, up=False))
    assert learned(one, again) == ([again], {one.id: LATER})


def test_a_film_goes_by_the_key_that_was_judged_first() -> None:
    items = [item(said("thumb", OTHER, "", "lee", 1, up=True)), up("kim"), up("park", 2)]
    address = {(ABOUT.video.etag, ABOUT.video.size_bytes): ABOUT.video.uri}
    assert addresses_of(items) == addresses_of(items[::-1]) == address


# Rows

SETTINGS = Settings()


def rows(stage: Stage, *items: Item, **settings: Any) -> tuple[list[dict[str, Any]], list[str]]:
    lessons, _ = lessons_of(items)
    known = [Known(one, CAPTION, BASE_PROMPT) for one in lessons]
    addresses = addresses_of(items)
    made = rows_of(known, stage, SETTINGS.model_copy(update=settings), addresses)
    assert len(made.taught) + len(made.left_out) <= len(lessons)
    body = written(made.rows)
    assert body == written(rows_of(known, stage, SETTINGS, addresses).rows) or settings
    columns = ("completion", "chosen", "rejected", "label")
    return [
        {name: value for name in columns if (value := getattr(row, name)) is not None}
        for row in made.rows
    ], [one.why for one in made.left_out]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("sft", [{"completion": "개"}]),
        ("dpo", [{"chosen": "개", "rejected": CAPTION}, {"chosen": "소", "rejected": CAPTION}]),
        ("kto", [{"completion": "개", "label": True}, {"completion": CAPTION, "label": False}]),
    ],
)
def test_each_stage_learns_its_own(stage: Stage, expected: list[dict[str, Any]]) -> None:
    items = corrected("kim", "개"), preferred("kim", "소", 1), down("lee", 2)
    assert rows(stage, *items) == (expected, [])


def test_a_thumb_up_is_a_reference() -> None:
    assert rows("sft", up("kim")) == ([{"completion": CAPTION}], [])
    assert rows("kto", up("kim")) == ([{"completion": CAPTION, "label": True}], [])
    assert rows("dpo", up("kim")) == ([], [])


@pytest.mark.parametrize(
    ("text", "settings", "why"),
    [
        ("가" * 11, {"max_syllables": 10}, "longer than a caption may be"),
        ("개 犬", {"language": "ko"}, "letters that no caption may hold"),
    ],
)
def test_what_would_stop_a_training_is_left_out(
    text: str, settings: dict[str, Any], why: str
) -> None:
    made, told = rows("dpo", corrected("kim", text), preferred("kim", "소"), **settings)
    assert [one["chosen"] for one in made] == ["소"]
    assert why in told[0]


def test_a_video_under_two_keys_is_one_video() -> None:
    items = [up("kim"), item(said("thumb", OTHER, "", "kim", 1, up=True))]
    known = [Known(one, CAPTION, BASE_PROMPT) for one in all_said(items)]
    made = rows_of(known, "sft", SETTINGS, addresses_of(items))
    assert [row.media.uri for row in made.rows] == [ABOUT.video.uri]
    assert made.taught == known
    assert len(known) == 1


def test_what_nobody_is_to_say_may_be_anything() -> None:
    chosen = item(said("preference", ABOUT, "犬" * 99, "kim", chosen=CAPTION))
    assert rows("dpo", chosen, max_syllables=10)[0] == [{"chosen": CAPTION, "rejected": "犬" * 99}]


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_a_set_is_as_large_as_a_training_reads_and_the_newest_rows_are_in_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.MOST_BYTES == manifest.MOST_BYTES
    items = [corrected(f"reviewer {n}", f"개 {n}", n) for n in range(6)]
    items.append(up("one", 9) if stage == "kto" else corrected("one", "개 1", 9))
    known = [Known(one, CAPTION, BASE_PROMPT) for one in all_said(items)]
    addresses = addresses_of(items)
    made = rows_of(known, stage, SETTINGS, addresses)
    assert (made.taught, made.passed_over, made.left_out) == (known, [], [])
    whole = made.rows
    for most, limit in (("MOST_BYTES", len(written(whole)) - 1), ("MOST_ROWS", len(whole) - 1)):
        with monkeypatch.context() as patch:
            patch.setattr(module, most, limit)
            made = rows_of(known, stage, SETTINGS, addresses)
        assert len(made.rows) < len(whole)
        assert len(written(made.rows)) < len(written(whole))
        assert (made.taught, made.passed_over, made.left_out) == (known[1:], known[:1], [])
        # And each lesson that counts as learned has its rows there.
        again = rows_of(made.taught, stage, SETTINGS, addresses).rows
        assert {(*row.texts, row.label) for row in made.rows} == {
            (*row.texts, row.label) for row in again
        }
