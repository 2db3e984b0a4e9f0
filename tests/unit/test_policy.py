"""What a policy may say, and which reports it lets pass."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.judge_errors import with_errors
from infra.demo.attributes import Attributes
from infra.demo.captions import HABIT, caption, phrasings
from infra.demo.scenes import sample_scenes
from shared.errors import ConfigError
from shared.judged import Judged, JudgedSet
from shared.messages import Decoding, ModelIdentity, decode
from shared.policy import MARGINS, objections, read_policy
from workers.judge.items import Item
from workers.judge.judge import judge_set, measures

SCENES = sample_scenes(40, 7, split="heldout")
ALONE = [
    (Item(str(number), str(number), (caption(scene),), "", logp=-1.0), scene)
    for number, scene in enumerate(SCENES)
]
"""Each with one reference."""


def said(errors: int, more: str = "", logp: float | None = -1.0) -> list[Item]:
    return [
        Item(
            str(number),
            str(number),
            tuple(phrasings(scene)),
            f"{with_errors(scene, random.Random(number))[errors]}{more}",
            logp=logp,
        )
        for number, scene in enumerate(SCENES)
    ]


def judged(*sets: JudgedSet, **changed: Any) -> Judged:
    told: dict[str, Any] = {
        "adapter": "a" * 12,
        "compared": True,
        "model": ModelIdentity(id="tests/tiny", revision="1", weights_sha256="0" * 64),
        "frames": 4,
        "decoding": Decoding(),
        "sets": sets,
        "libraries": {},
        "created_at": datetime.now(UTC),
        "jamak": "1",
    }
    return Judged(**{**told, **changed})


KNOWN = "s3://b/known.jsonl"


def report(
    new: list[Item], old: list[Item], name: str = "held out", data: str = KNOWN
) -> JudgedSet:
    return judge_set(name, new, old, data=data)


def asked(text: str, *sets: JudgedSet, **changed: Any) -> list[str]:
    return objections(read_policy(text.encode(), "policy.yaml"), judged(*sets, **changed))


def test_what_is_clearly_better_passes_and_what_is_as_before_does_not() -> None:
    better = report(said(0), said(1))
    assert asked("", better) == []
    assert asked("rise: 5", better) == []
    [reason] = asked("rise: 50", better)
    assert reason.startswith("chrf got better by 23.3")
    assert reason.endswith("it has to be more than 50")
    [reason] = asked("", report(said(0), said(0)))
    assert reason == (
        "chrf got better by 0, and with 95 % confidence by 0; it has to be more than 0"
    )


def test_what_got_worse_is_said_once() -> None:
    reasons = asked("margins: {chrf: 0.1}", report(said(2), said(1)))
    [reason] = [one for one in reasons if one.startswith("chrf")]
    assert reason.startswith("chrf got worse by 17;")
    assert reason.endswith("; it has to get better by more than 0")


def test_better_is_what_lies_outside_of_chance() -> None:
    mixed = [*said(0)[:6], *said(1)[6:]]
    lucky = report(mixed, [*said(1)[:6], *said(0)[6:9], *said(1)[9:]])
    difference = lucky.figures["chrf"].difference
    assert difference is not None
    assert difference > 0
    assert any("with 95 % confidence by -" in one for one in asked("margins: {exact: null}", lucky))
    assert asked("{confidence: 50, margins: {exact: null}}", lucky) == []


def test_no_figure_falls_beyond_its_margin() -> None:
    worse = report(said(0, f" {HABIT}"), said(2))
    reasons = asked("", worse)
    assert any(one.startswith("length got worse by") for one in reasons)
    # what is to be low is measured upside down
    cured = report(said(0), said(0, f" {HABIT}"))
    assert asked("{target: hallucinated, rise: 0.05}", cured) == []
    # as long as the references is better than longer, and that is no fall
    assert asked("{target: length, rise: 0.1}", cured) == []
    assert asked("{target: hallucinated, rise: 0.9, margins: {length: null}}", cured) != []
    fell = asked("margins: {length: null}", report(said(0, f" {HABIT}"), said(0)))
    assert any(one.startswith("hallucinated got worse by") for one in fell)
    unlikely = report(said(0, logp=-1.5), said(1, logp=-1.0))
    assert asked("", unlikely) == ["logp got worse by 0.5; it may by 0.2"]
    assert asked("margins: {logp: 0.6}", unlikely) == []
    assert asked("margins: {logp: null}", unlikely) == []


def test_what_the_policy_asks_for_and_nobody_measured_does_not_pass() -> None:
    better, alone = report(said(0), said(1)), report(said(0, logp=None), said(1, logp=None))
    [reason] = asked("", alone)
    assert reason == "logp cannot be told: no model was asked how likely it finds the references"
    assert asked("margins: {logp: null}", alone) == []
    assert "there is no such figure" in asked("target: beauty", better)[0]
    assert asked("", better, compared=False) == ["it was compared with nothing"]
    assert asked("") == ["nothing was held out"]
    [reason] = asked("videos: 41", better)
    assert reason == "40 videos were held out; the policy wants 41"


@pytest.mark.parametrize("broken", [float("nan"), float("-inf")])
def test_a_model_that_finds_no_number_for_a_reference_does_not_pass(broken: float) -> None:
    """Neither as the new one nor as what it is compared with; and the report can be kept."""
    [first, *rest] = said(0)
    items = [replace(first, logp=broken), *rest]
    new = report(items, said(1))
    assert asked("", new) == ["logp cannot be told: of 1 of 40 captions it is no number"]
    told = decode(Judged, judged(new).model_dump_json().encode())
    assert "logp" not in told.sets[0].figures
    [reason] = asked("", report(said(0), [replace(one, logp=broken) for one in said(1)]))
    assert reason == "logp cannot be told: there is none of what it is compared with"


def test_each_measure_has_a_margin_and_so_has_each_share_that_nobody_named() -> None:
    assert MARGINS.keys() == {one.name for one in measures([Attributes()])}
    better = report(said(0), said(1))
    kind = better.figures["exact"]
    fallen = kind.model_copy(update={"value": 0.5, "against": 0.53, "difference": -0.03})
    also = better.model_copy(update={"figures": {**better.figures, "politeness": fallen}})
    assert asked("", also) == ["politeness got worse by 3.00 points; it may by 2.00 points"]
    assert asked("margins: {politeness: 0.05}", also) == []
    counted = fallen.model_copy(update={"percent": False})
    also = better.model_copy(update={"figures": {**better.figures, "politeness": counted}})
    assert asked("", also) == []


def test_wrong_facts_in_the_words_of_the_references_do_not_pass() -> None:
    """Letters alone are nearer to them than the right facts in other words are."""
    wrong = [replace(one, said=with_errors(scene, random.Random(7))[1]) for one, scene in ALONE]
    other = [replace(one, said=phrasings(scene)[1]) for one, scene in ALONE]
    found = judge_set("held out", wrong, other, extra=[Attributes()])
    assert any(one.startswith("attributes got worse by") for one in asked("", found))


def test_the_forgetting_set_holds() -> None:
    better, forgotten = report(said(0), said(1)), report(said(1), said(0), "forgetting")
    policy = f"forgetting: {{data: {KNOWN!r}, margins: {{chrf: 0.5}}}}"
    assert asked(policy, better) == ["what it could do before was not judged"]
    reasons = asked(policy, better, forgotten)
    assert reasons[0].startswith("forgetting: chrf got worse by 2")
    held = report(said(0), said(0), "forgetting")
    assert asked(policy, better, held) == []
    easy = report(said(0), said(0), "forgetting", "s3://b/easy.jsonl")
    [reason] = asked(policy, better, easy)
    assert reason.endswith(f"was judged by s3://b/easy.jsonl, and the policy names {KNOWN}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "marigns: {chrf: 1}",
            "policy.yaml: marigns: nobody knows .*mean margins",
        ),
        ("margins: {chrf: much}", "policy.yaml: margins.chrf: Input should be a valid number"),
        ("margins: {chrf: -1}", "policy.yaml: margins.chrf: .*greater than or equal to 0"),
        ("canary: 80%", "policy.yaml: canary: .*less than or equal to 0.5"),
        ("canary: 0%", "policy.yaml: canary: .*greater than 0"),
        ("canary: much%", "policy.yaml: canary: "),
        ("canary:", "policy.yaml: canary: it says nothing"),
        ("rise: .inf", "policy.yaml: rise: .*finite"),
        ("target: BLEU", "policy.yaml: target: nobody knows .*mean bleu"),
        ("target: chfr", "policy.yaml: target: nobody knows .*mean chrf"),
        ("margins: {halucinated: null}", "policy.yaml: margins: nobody knows .*mean hallucinated"),
        ("forgetting: {data: a, margins: {chfr: 1}}", "policy.yaml: forgetting.margins: nobody"),
        ("confidence: 100", "policy.yaml: confidence: "),
        ("- chrf", "policy.yaml is no policy"),
        ("a: [", "policy.yaml is no YAML"),
        ("[" * 5000, "policy.yaml is no YAML"),
        ("!!python/object/apply:os.system ['true']", "policy.yaml is no YAML"),
    ],
)
def test_what_is_no_policy_is_refused_by_the_key(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_policy(text.encode(), "policy.yaml")


@pytest.mark.parametrize("name", ["cer", "bleurt", "spider", "chrf2", "bleu_1", "repetition"])
def test_measures_of_other_packages_may_be_named(name: str) -> None:
    assert read_policy(f"target: {name}\nmargins: {{{name}: 1}}".encode(), "p").target == name


def test_a_canary_is_a_share_or_none() -> None:
    shares = {text: read_policy(text.encode(), "p").canary for text in CANARIES}
    assert shares == CANARIES


CANARIES = {"": 0.1, "canary: 5%": 0.05, "canary: 0.25": 0.25, "canary: false": None}
