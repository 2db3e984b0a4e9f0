"""A file of rules: what it says, and what is refused with the place and the cure."""

import math
import re
from typing import Any

import pytest
import yaml

from infra.local.procfile import ROOT
from producer.feedback.due import one_sided
from producer.feedback.rules import read_rules
from shared.errors import BadData, ConfigError
from shared.rows import Row, held_out
from shared.settings import Settings
from workers.train.data import with_splits

RULE: dict[str, Any] = {
    "name": "habits",
    "when": {"preferences": 200, "hours": 24},
    "train": {"stage": "dpo", "steps": 60},
}


def read(*rules: dict[str, Any]) -> Any:
    return read_rules(yaml.safe_dump({"rules": list(rules)}).encode(), "rules.yaml", Settings())


def test_a_rule_is_a_job_with_the_defaults_of_its_stage() -> None:
    (rule,) = read(RULE).rules
    assert rule.when.least == {"preference": 200}
    job = rule.job(Settings(), "j", "s3://b/k", "0" * 12)
    assert (job.stage, job.steps, job.learning_rate, job.replay_share) == ("dpo", 60, 2e-5, 0.25)
    assert job.skip_unfit  # one long correction fails no run
    assert rule.job(Settings(), "j", "s3://b/k", None).replay_share == 0


def test_the_page_shows_rules_that_are_ones() -> None:
    page = (ROOT / "docs/loop.md").read_text()
    shown = re.findall(r"```yaml\n(rules:.*?)```", page, re.S)
    walk, rules = (read_rules(one.encode(), "docs/loop.md", Settings()).rules for one in shown)
    assert [(rule.train.stage, rule.when.hours) for rule in walk] == [("sft", 0)]
    assert [(rule.train.stage, rule.when.hours) for rule in rules] == [("dpo", 24), ("sft", 168)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"wen": 1}, "rules.0.wen: nobody knows this word; did you mean when?"),
        ({"when": {"preferenecs": 200}}, "rules.0.when.preferenecs.*did you mean preferences"),
        ({"when": {"hours": 24}}, "it counts nothing"),
        ({"when": {"preferences": 0}}, "rules.0.when.preferences"),
        ({"when": {"preferences": "many"}}, "rules.0.when.preferences"),
        ({"when": {"thumbs": 9}}, "the stage dpo learns nothing from thumbs"),
        ({"train": {"stage": "dpo", "stepz": 9}}, "rules.0.train.stepz.*did you mean steps"),
        ({"train": {"stage": "dpo", "id": "j"}}, "rules.0.train.id: nobody knows this word"),
        ({"train": {"stage": "dpo", "steps": 0}}, "steps: Input should be greater"),
        ({"train": {"stage": "dpo", "losses": ["nll"]}}, "has no loss 'nll'"),
        ({"train": {"stage": "align"}}, "rules.0.train.stage"),
        ({"when": {"preferences": 1, "hours": math.inf}}, "rules.0.when.hours: .*less than"),
        ({"when": {"preferences": 1, "hours": 1e11}}, "rules.0.when.hours: .*less than"),
        ({"train": {"stge": "dpo"}}, "rules.0.train.stge: nobody .*did you mean stage?"),
        ({"train": {"stage": "dpo", "from": "latest"}}, "rules.0.train.from"),
        ({"name": "A rule"}, "rules.0.name"),
    ],
)
def test_what_is_no_rule_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^rules.yaml: .*{why}"):
        read(RULE | changes)


def test_thumbs_of_which_one_side_is_held_out_are_one_sided() -> None:
    kto = {"when": {"thumbs": 1}, "train": {"stage": "kto"}}
    (rule,) = read(RULE | kto).rules
    uris = [f"s3://b/{n}.mp4" for n in range(10)]

    def rows(down: str) -> list[Row]:
        told = {"completion": "개", "prompt": "USER: <video> ASSISTANT:"}
        return [
            Row.model_validate({"id": u, "videos": [{"uri": u}], "label": u != down, **told})
            for u in uris
        ]

    (first, *_) = held_out(rows(""))
    (why,) = one_sided(rule, rows(first))
    assert "needs both" in why
    with pytest.raises(BadData, match="have the label true"):
        with_splits(rows(first))  # as a training would say it
    assert one_sided(rule, rows(next(uri for uri in uris if uri != first))) == []


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two rules are called habits"):
        read(RULE, RULE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[" * 9_000,
        b"rules: []",
        b"rules",
        b"\xff\xfe\x00",
        b"!!python/object:os.system {}",
    ],
)
def test_what_is_no_file_of_rules_is_refused(body: bytes) -> None:
    with pytest.raises(ConfigError, match=r"rules\.yaml"):
        read_rules(body, "rules.yaml", Settings())
