"""Figures of captions: what they are, and that nothing is told of sets that are too small."""

import random
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from benchmarks.judge import AUC, CAPTIONS, TAU, judged
from benchmarks.judge_errors import with_errors
from infra.demo.attributes import Attributes
from infra.demo.captions import HABIT, caption, parse, phrasings
from infra.demo.scenes import Scene, sample_scenes
from workers.judge.bleu import Bleu
from workers.judge.bootstrap import Resampled, percentiles
from workers.judge.chrf import ChrF
from workers.judge.cider import Cider
from workers.judge.items import Item
from workers.judge.judge import each, judge_set
from workers.judge.measures import Measure
from workers.judge.page import apart, verdict
from workers.judge.unfounded import Unfounded

SAID = "빨간 원이 왼쪽에서 오른쪽으로 움직입니다."


def item(said: str, *references: str, video: str = "", **fields: object) -> Item:
    return Item(id=video or said, video=video or said, references=references, said=said, **fields)  # type: ignore[arg-type]


def films(count: int, errors: int = 0) -> list[Item]:
    scenes = sample_scenes(count, 5, split="heldout")
    return [
        item(
            with_errors(scene, random.Random(number))[errors],
            *phrasings(scene),
            video=str(number),
        )
        for number, scene in enumerate(scenes)
    ]


def figure(measure: Measure, *items: Item) -> float:
    return float(measure.figure(measure.sums(items).sum(0)))


def test_what_can_be_resampled_is_what_sacrebleu_says_of_the_whole() -> None:
    items = [*films(30, errors=2), item("고양이", "고양이가 잡니다.", "개")]
    said = [one.said for one in items]
    padded = [[*one.references, *[None] * 3][:3] for one in items]
    streams = [list(column) for column in zip(*padded, strict=True)]
    for measure, theirs in (
        (ChrF(), CHRF(word_order=2)),
        (Bleu(), BLEU(tokenize="ko-mecab")),
    ):
        expected = theirs.corpus_score(said, streams).score
        assert figure(measure, *items) == pytest.approx(expected, abs=1e-9)
    assert figure(ChrF(), item("", "원")) == 0
    # sacrebleu smooths an order that has nothing in common, and so does ours
    few = item("빨간 원이 왼쪽 위에 큽니다.", "빨간 원이 아래로 천천히 갑니다.")
    expected = BLEU(tokenize="ko-mecab").corpus_score([few.said], [[*few.references]]).score
    assert 0 < figure(Bleu(), few) == pytest.approx(expected)


def test_each_caption_counts_as_often_as_its_video_is_drawn() -> None:
    good, bad = films(20), films(20, errors=3)
    judged = judge_set("held out", bad, good)
    chrf = judged.figures["chrf"]
    assert chrf.against == pytest.approx(100)
    assert chrf.difference == pytest.approx(chrf.value - 100)
    assert chrf.low < chrf.value < chrf.high
    assert len(chrf.spread) == 101
    assert chrf.spread == tuple(sorted(chrf.spread))
    assert chrf.bound(0) < chrf.difference < chrf.bound(100) < 0
    # the same videos on both sides: what is alike on all of them is never apart
    assert set(judge_set("x", good, films(20)).figures["chrf"].spread) == {0.0}
    # four captions of one video are one observation, so their figure is as unsure as of one
    alone, fourfold = films(20, errors=1), [one for one in films(20, errors=1) for _ in range(4)]
    assert judge_set("x", fourfold).figures["chrf"].low == pytest.approx(
        judge_set("x", alone).figures["chrf"].low
    )
    assert judge_set("x", fourfold).videos == 20


def test_the_same_text_in_another_form_is_the_same_text() -> None:
    apart = unicodedata.normalize("NFD", SAID)
    told = judge_set("x", [item(f" {apart}\n", SAID, video="1")]).figures
    assert told["exact"].value == 1
    assert told["chrf"].value == pytest.approx(100)
    assert told["hangul"].value == 1


def test_what_a_set_is_too_small_or_too_short_for_is_left_out_with_the_reason() -> None:
    one = judge_set("x", [item("빨간 원", "빨간 원이 움직입니다.")])
    assert "bleu" not in one.figures
    assert "cider" not in one.figures
    assert "no caption has 4 morphemes" in one.left_out["bleu"]
    assert one.left_out["cider"].startswith("1 videos do not tell which words are rare")
    assert "no model was asked" in one.left_out["logp"]
    alike = [item(SAID, SAID, video=str(number)) for number in range(9)]
    assert "same reference" in judge_set("x", alike).left_out["cider"]
    short = judge_set("x", [item(SAID, "원")])
    assert "no reference has 4 morphemes" in short.left_out["bleu"]
    assert (
        "no caption has a noun" in judge_set("x", [item("갑니다.", "원")]).left_out["hallucinated"]
    )
    with pytest.raises(ValueError, match="no captions"):
        judge_set("x", [])
    with pytest.raises(ValueError, match="not of the same rows"):
        judge_set("x", films(2), films(3))


def test_a_measure_without_its_library_is_left_out_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.judge.morphemes.find_spec", lambda name: None)
    told = judge_set("x", films(10))
    assert {"bleu", "cider", "hallucinated"} <= set(told.left_out)
    assert "pip install 'jamak[judge]'" in told.left_out["bleu"]
    assert next(iter(told.figures)) == "chrf"


def test_cider_counts_rare_words_more() -> None:
    items = [
        item(caption(scene), caption(scene), video=str(number))
        for number, scene in enumerate(sample_scenes(30, 3, split="heldout"))
    ]
    assert each(Cider(), items) == pytest.approx(10)
    # each says 에서 twice, and few a heart
    with_heart = [one for one in items if "하트가" in one.said and one.said.count("에서") == 2]

    def lost(word: str) -> float:
        said = [replace(one, said=one.said.replace(word, "", 1)) for one in items]
        scores = dict(zip((one.id for one in items), each(Cider(), said), strict=True))
        return float(np.mean([scores[one.id] for one in with_heart]))

    assert with_heart
    assert lost("하트") < lost("에서")
    assert figure(Cider(), *[item("고양이가 잡니다.", SAID, video=str(n)) for n in range(9)]) == 0


def test_a_noun_of_no_reference_is_hallucinated() -> None:
    cat = item(f"{SAID} {HABIT}", SAID)
    assert figure(Unfounded(), item(SAID, SAID)) == 0
    # 구석 and 고양이, beside 원, 왼쪽 and 오른쪽
    assert figure(Unfounded(), cat) == pytest.approx(2 / 5)
    # another row of the same video names it
    both = (item(SAID, SAID, video="1"), item("고양이", "고양이가 구석에 있다", video="1"))
    assert figure(Unfounded(), *both, item(f"{SAID} {HABIT}", SAID, video="1")) == 0


def test_texts_that_no_one_can_believe() -> None:
    bad = [
        item("", SAID, video="1"),
        item("the red circle moves", SAID, video="2"),
        item("원이 원이 " * 9, SAID, video="3", finished=False),
        item(SAID, SAID, video="4", logp=-0.5),
    ]
    told = judge_set("x", bad).figures
    shares = {name: told[name].value for name in ("empty", "hangul", "repetitive", "cut", "exact")}
    assert shares == {"empty": 0.25, "hangul": 0.5, "repetitive": 0.25, "cut": 0.25, "exact": 0.25}
    assert told["logp"].value == -0.5
    assert told["length"].value > 0


def test_slices_and_the_worst() -> None:
    good, bad = films(20), films(20, errors=2)
    mixed = [
        replace(one, parts={"source": "a" if n < 5 else "b"})
        for n, one in enumerate(bad[:5] + good[5:])
    ]
    told = judge_set("x", mixed, good)
    by_source = {one.value: one for one in told.slices}
    assert by_source["a"].captions == 5
    assert by_source["a"].figures["chrf"][0] < by_source["b"].figures["chrf"][0]
    assert by_source["b"].figures["chrf"][1] == pytest.approx(100)
    # of five videos CIDEr says nothing
    assert "cider" not in by_source["a"].figures
    assert "cider" in by_source["b"].figures
    assert {bad.id for bad in told.worst[:5]} == {"0", "1", "2", "3", "4"}
    assert len(told.worst) == 10
    assert told.worst[0].against == good[int(told.worst[0].id)].said


def test_the_scenes_facts_are_read_by_their_grammar() -> None:
    scene = Scene("black", then=sample_scenes(1, 1, split="heldout")[0])
    other = with_errors(scene, random.Random(1))
    facts = [figure(Attributes(), item(said, *phrasings(scene))) for said in other]
    # of five facts none to three are wrong
    assert facts == pytest.approx([1, 4 / 5, 3 / 5, 2 / 5])
    assert figure(Attributes(), item("무엇인가 있습니다.", *phrasings(scene))) == 0
    # of other captions it says nothing, and nobody asks why
    told = judge_set("x", [item(SAID, SAID)], extra=[Attributes()])
    assert "attributes" not in {*told.figures, *told.left_out}


def test_the_judge_is_judged() -> None:
    found = judged(120, 60, seed=3)
    assert found["chrf"]["kendall_tau"] >= TAU
    assert found["chrf"]["auc"] >= AUC
    assert found["attributes"]["kendall_tau"] == 1
    weak = {name for name, one in found.items() if one["weak"]}
    assert {"hangul", "exact", "length", "logp"} <= weak
    assert not weak & {"chrf", "bleu", "attributes"}
    assert CAPTIONS >= 200


def test_errors_are_counted_and_kept() -> None:
    for seed, scene in enumerate(sample_scenes(50, 2, split="heldout", kind="two_objects")):
        told = with_errors(scene, random.Random(seed))
        scenes = [parse(text) for text in told]
        assert len(scenes) == 4
        apart = [differences(scene, other) for other in scenes]
        assert apart == [0, 1, 2, 3]


def differences(scene: Scene, other: Scene | None) -> int:
    assert other is not None
    wrong = int(scene.background != other.background)
    for one, two in zip(scene.figures, other.figures, strict=True):
        wrong += sum(getattr(one, n) != getattr(two, n) for n in ("colour", "shape", "motion"))
    return wrong


def test_each_gives_a_number_for_every_caption() -> None:
    assert np.isnan(each(Bleu(), [item("원", "원이 있다")])).all()
    assert each(ChrF(), films(3)).shape == (3,)


@pytest.mark.parametrize("videos", [2, 3, 5, 8, 30, 200])
def test_of_no_difference_one_in_twenty_looks_sure_however_few_videos_there_are(
    videos: int,
) -> None:
    resampled = Resampled([item(SAID, SAID, video=str(number)) for number in range(videos)])
    chance = np.random.default_rng(videos)
    sure = 0
    for _ in range(1000):
        values = chance.normal(size=(videos, 1))
        drawn = resampled.sums(values)[:, 0] / videos
        spread = percentiles(drawn, 101, float(values.mean()), videos)
        assert list(spread) == sorted(spread)
        sure += spread[5] > 0
    assert 25 <= sure <= 90


def test_of_one_video_no_difference_is_told() -> None:
    new, old = item(SAID, SAID, video="1"), item(SAID, f"{SAID} 아닙니다.", video="1")
    (figure,) = [judge_set("x", [new], [old]).figures[name] for name in ("chrf",)]
    assert figure.against is not None
    assert figure.value > figure.against
    assert (figure.difference, figure.spread) == (None, ())
    assert (verdict(figure), apart(figure)) == ("", "")
