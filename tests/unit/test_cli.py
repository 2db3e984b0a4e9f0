"""The `jamak` command: what it offers, how it ends, and that its own side needs no torch."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ["torch", "transformers", "peft", "trl", "bitsandbytes", "av"]

WITHOUT_THE_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); "
"""As on a machine on which only the operator's side is installed: None cannot be imported."""


def jamak(*arguments: str, extras: bool = True, **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAMAK_")}
    code = "from producer.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code if extras else WITHOUT_THE_EXTRAS + code, *arguments],
        env={**clean, **env},
        capture_output=True,
        text=True,
    )


def test_the_operators_side_works_without_the_workers_libraries() -> None:
    done = jamak("cards", "--json", extras=False, JAMAK_DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["here"] == "cpu"


def test_a_verb_whose_extra_is_missing_is_listed_and_says_what_to_install() -> None:
    assert "(needs av)" in jamak("--help", extras=False).stdout
    done = jamak("demo", extras=False)
    assert done.returncode == 1
    assert "pip install 'jamak[worker]'" in done.stderr


def test_every_verb_explains_itself() -> None:
    said = jamak("--help").stdout
    verbs = "adapters backlog cards demo enqueue export failures feed listen reconcile show status"
    for verb in (*verbs.split(), "train"):
        assert verb in said
    assert "(needs" not in said


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["cards"], {"JAMAK_OUTPUT": "nonsense"}, 78, "JAMAK_OUTPUT"),
        (["cards"], {"JAMAK_PROMPT": "없음"}, 78, "JAMAK_PROMPT"),
        (["cards"], {"JAMAK_CARD": "p100"}, 78, "JAMAK_CARD"),
        (["listen"], {}, 78, "JAMAK_EVENTS_QUEUE_URL is not set"),
        (["show", "nonsense"], {}, 78, "Write s3://bucket/key."),
        (["show"], {}, 2, "Missing argument"),
        (["train", "sft"], {}, 2, "--data"),
    ],
)
def test_what_is_wrong_is_named_and_has_an_exit_code(
    arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    done = jamak(*arguments, AWS_DEFAULT_REGION="us-east-1", **env)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
