"""The `jamak` command: what it offers, how it ends, and that its own side needs no torch."""

import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path

import pytest
import typer

from infra.local.procfile import ROOT
from producer.verbs.lazy import EXTRAS, SUMMARIES
from shared.console import Grid, Whole, asks_for_json
from tests.terminal import Screen, jamak_here, leaves, speaking
from tests.warm import run_warm

HEAVY = ["torch", "transformers", "peft", "trl", "bitsandbytes", "av"]

WITHOUT_THE_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); "
"""As on a machine on which only the operator's side is installed: None cannot be imported."""

MAIN = "from producer.cli import main; main()"


def clean_environ() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("JAMAK_", "AWS_"))}


def jamak(*arguments: str, extras: bool = True, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", MAIN if extras else WITHOUT_THE_EXTRAS + MAIN, *arguments],
        env={**clean_environ(), **env},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment that configures nothing."""
    for name in set(os.environ) - set(clean_environ()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield monkeypatch


# What it offers


def test_the_operators_side_works_without_the_workers_libraries() -> None:
    done = jamak("cards", "--json", extras=False, JAMAK_DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["here"] == "cpu"
    done = jamak("plan", "--model", "vicuna-7b", "--json", extras=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"][0]["frames"] == 4


def test_help_imports_no_verb_and_nothing_that_only_verbs_need() -> None:
    code = f"from producer.cli import run; run(['--help']); {SAY_WHAT_IS_IMPORTED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, _, imported = done.stdout.rpartition("imported:")
    assert "Options" in said
    assert imported.split() == []


SAY_WHAT_IS_IMPORTED = (
    "import sys; print('imported:', *({'boto3', 'celery', 'kombu', 'redis', 'pydantic_settings', "
    "'prometheus_client', 'structlog', 'producer.verbs.captions', 'producer.verbs.bulk', "
    "'infra.demo.cli', 'workers.cli'} & set(sys.modules)))"
)


def test_what_help_says_of_a_verb_is_what_the_verb_says() -> None:
    verbs = {entry.name: entry.load() for entry in entry_points(group="jamak.verbs")}
    said = {
        name: verb.info.help if isinstance(verb, typer.Typer) else inspect.getdoc(verb)
        for name, verb in verbs.items()
    }
    first = {name: " ".join(text.split("\n\n")[0].split()) for name, text in said.items()}
    assert first == SUMMARIES


def test_help_lists_every_verb(alone: pytest.MonkeyPatch) -> None:
    said = jamak_here(alone, "--help")
    assert said.code == 0
    assert all(f"│ {verb} " in said.out for verb in SUMMARIES)
    assert "needs the extra" not in said.out


def test_a_verb_whose_extra_is_missing_is_listed_and_says_what_to_install() -> None:
    said = " ".join(jamak("--help", extras=False).stdout.replace("│", " ").split())
    assert said.count("(needs the extra 'worker')") == len(EXTRAS)
    done = jamak("demo", extras=False)
    assert done.returncode == 1
    assert "pip install 'jamak[worker]'" in done.stderr
    done = jamak("demo", "--json", extras=False)
    assert json.loads(done.stdout)["error"]["reason"] == "not_installed"


def test_the_verbs_that_need_an_extra_are_those_that_are_said_to() -> None:
    code = WITHOUT_THE_EXTRAS + (
        "from importlib.metadata import entry_points\n"
        "for entry in entry_points(group='jamak.verbs'):\n"
        "    try: entry.load()\n"
        "    except ModuleNotFoundError: print(entry.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == set(EXTRAS)


def test_verbs_of_other_packages_are_listed_even_when_they_are_broken(
    alone: pytest.MonkeyPatch,
) -> None:
    ours = next(iter(entry_points(group="jamak.verbs", name="cards")))
    theirs = [
        EntryPoint("theirs", ours.value, "jamak.verbs"),
        EntryPoint("broken", "no_such_package:verb", "jamak.verbs"),
    ]
    alone.setattr("producer.verbs.lazy.entry_points", lambda group: theirs)
    said = jamak_here(alone, "--help").out
    assert "│ theirs  The card classes" in said
    assert "│ broken  (cannot be imported: No module named 'no_such_package')" in said
    alone.setenv("JAMAK_DEVICE", "cpu")
    assert "caption.t4" in jamak_here(alone, "theirs").out


def test_it_tells_its_version(alone: pytest.MonkeyPatch) -> None:
    said = jamak_here(alone, "--version")
    assert (said.code, said.out) == (0, f"jamak {version('jamak')}\n")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_h_is_help_everywhere(alone: pytest.MonkeyPatch, language: str) -> None:
    alone.setenv("JAMAK_LANG", language)
    paths = {words[:n] for words, _ in leaves() for n in range(len(words) + 1)}
    for words in paths:
        said = jamak_here(alone, *words, "-h")
        assert (said.code, said.err) == (0, ""), words
        assert f"Usage: {' '.join(('jamak', *words))}" in said.out


# How it ends

NONSENSE = {"JAMAK_OUTPUT": "nonsense"}
NO_REDIS = {"JAMAK_REDIS_URL": "redis://127.0.0.1:1"}
Row = tuple[str, dict[str, str], int, str]

ROWS: dict[str, list[Row]] = {
    "adapters activate": [
        ("", {}, 2, "Missing argument"),
        ("v", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "adapters canary": [
        ("", {}, 2, "Missing argument"),
        ("v 60%", {}, 2, "'60%' is no share"),
        ("v", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "adapters promote": [
        ("", {}, 2, "Missing argument"),
        ("v", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "adapters gate": [
        ("", {}, 2, "Missing argument"),
        ("v --policy none.yaml", {}, 2, "none.yaml"),
        ("v", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "adapters show": [("", {}, 2, "Missing argument"), ("v", NONSENSE, 78, "JAMAK_OUTPUT")],
    "adapters diff": [("v", {}, 2, "Missing argument"), ("v w", NONSENSE, 78, "JAMAK_OUTPUT")],
    "adapters verify": [("a b", {}, 2, "b"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "adapters list": [("--frobnicate", {}, 2, "--frobnicate"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "adapters prune": [("all", {}, 2, "all"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "adapters rollback": [("a b", {}, 2, "b"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "data stats": [
        ("", {}, 2, "Missing argument"),
        ("none.jsonl", {}, 2, "none.jsonl: there is no such file"),
        ("none.jsonl --out nowhere/s.png", {}, 2, "nowhere is no folder"),
        ("none.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "data validate": [
        ("", {}, 2, "Missing argument"),
        ("s3:///m.jsonl", {}, 2, "'s3:///m.jsonl' is not an S3 address"),
        ("none.jsonl", {}, 2, "none.jsonl: there is no such file"),
        ("none.jsonl --stage ppo", {}, 2, "ppo"),
        ("none.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "backlog cancel": [("", {}, 2, "Missing argument"), ("b", NONSENSE, 78, "JAMAK_OUTPUT")],
    "backlog delete": [
        ("", {}, 2, "Missing argument"),
        ("b --yes", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "backlog list": [("all", {}, 2, "all"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "backlog pause": [("", {}, 2, "Missing argument"), ("b", NONSENSE, 78, "JAMAK_OUTPUT")],
    "backlog plan": [
        ("nowhere", {}, 2, "'nowhere' is no source of videos"),
        ("s3:///a", {}, 2, "'s3:///a' is not an S3 address"),
        ("s3://b/ --card p100", {}, 2, "'p100' is no card class"),
        ("s3://b/ --card cpu", {}, 2, "cpu is no class of jobs"),
        ("s3://b/ --card t4 --frames 8", {}, 2, "t4 takes 4 frames, not 8"),
        ("s3://b/ --frames 99", {}, 2, "no card takes 99 frames"),
        ("s3://b/ --segments many", {}, 2, "'many' are no segments"),
        ("s3://b/ --prompt hello", {}, 2, "<video> 0 times"),
        ("s3://b/ --by tomorrow", {}, 2, "'tomorrow' is no time"),
        ("s3://b/ --budget much", {}, 2, "'much' is no amount of money"),
        ("s3://b/", {"JAMAK_PROMPT": "hello"}, 78, "JAMAK_PROMPT"),
    ],
    "backlog resume": [("", {}, 2, "Missing argument"), ("b", NONSENSE, 78, "JAMAK_OUTPUT")],
    "backlog start": [
        ("b nowhere", {}, 2, "'nowhere' is no source of videos"),
        ("B s3://b/", {}, 2, "'B' is no name of a backlog"),
        ("b s3://b/", {"JAMAK_REDIS_URL": "http://h"}, 78, "JAMAK_REDIS_URL"),
    ],
    "backlog status": [("", {}, 2, "Missing argument"), ("b", NONSENSE, 78, "JAMAK_OUTPUT")],
    "cards": [
        ("all", {}, 2, "all"),
        ("", {"JAMAK_CARD": "p100"}, 78, "JAMAK_CARD"),
        ("", {"JAMAK_PROMPT": "없음"}, 78, "JAMAK_PROMPT"),
    ],
    "costs": [
        ("--since yesterday", {}, 2, "'yesterday' is no day"),
        ("--by video", {}, 2, "'video' is not one of"),
        ("", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "feedback add": [
        ("", {}, 2, "Missing argument"),
        ("s3://b/k --reviewer kim", {}, 2, "say one thing of a caption at a time"),
        ("s3://b/k --reviewer kim --up --down", {}, 2, "say one thing of a caption at a time"),
        ("s3://b/k --up", {}, 2, "--reviewer"),
        ("s3:///k --reviewer kim --up", {}, 2, "'s3:///k' is not an S3 address"),
        ("s3://b/k --reviewer kim --up", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "feedback export": [
        ("", {}, 2, "--to"),
        ("nonsense --to f.jsonl", {}, 2, "WHERE: 'nonsense' is not an S3 address"),
        ("--to nowhere/f.jsonl", {}, 2, "nowhere is no folder"),
        ("--to f.csv --format csv", {}, 2, "'csv' is not one of"),
        ("--to f.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "feedback import": [
        ("", {}, 2, "Missing argument"),
        ("csv f.csv", {}, 2, "'csv' is not one of"),
        ("jsonl none.jsonl", {}, 2, "SOURCE: none.jsonl: there is no such file or folder"),
        ("jsonl none.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "feedback list": [
        ("nonsense", {}, 2, "WHERE: 'nonsense' is not an S3 address"),
        ("--since yesterday", {}, 2, "'yesterday' is no time"),
        ("", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    # Its environment is its own, so nothing in ours can be wrong.
    "data pairs": [
        ("", {}, 2, "Missing"),
        ("nonsense --to s3://b/p.jsonl", {}, 2, "SOURCE: 'nonsense' is not an S3 address"),
        ("s3://b/m.jsonl --to s3://b/p.json", {}, 2, "--to: s3://b/p.json is no manifest"),
        ("s3://b/m.jsonl --to s3://b/p.jsonl --draws 0", {}, 2, "nothing is asked for"),
        ("s3://b/m.jsonl --to s3://b/p.jsonl --rejects (", {}, 2, "is no regular expression"),
        ("s3://b/m.jsonl --to s3://b/p.jsonl --frames 99", {}, 2, "no card takes 99 frames"),
        ("s3://b/m.jsonl --to s3://b/p.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "demo": [("--card p100", {}, 2, "p100"), ("--videos 0", {}, 2, "--videos")],
    "doctor": [("all", {}, 2, "all"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "enqueue": [
        ("nonsense", {}, 2, "'nonsense' is not an S3 address"),
        ("s3://b/a.mp4 s3://", {}, 2, "'s3://' is not an S3 address"),
        ("s3://b/a.mp4", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "eval": [
        ("--data m.jsonl", {}, 2, "Missing option '--adapter'"),
        ("--adapter base --data none.jsonl", {}, 2, "none.jsonl: there is no such file"),
        ("--adapter base --data s3:///a", {}, 2, "'s3:///a' is not an S3 address"),
        (f"--adapter base --data {__file__} --keep", {}, 2, "no folder to keep a report in"),
        (f"--adapter base --data {__file__}", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "export": [
        ("b", {}, 2, "--to"),
        ("s3:///a --to x", {}, 2, "'s3:///a' is not an S3 address"),
        ("s3://b/ --to s3://", {}, 2, "'s3://' is not an S3 address"),
        ("s3://b/ --to x --format csv", {}, 2, "csv"),
        ("b --to x", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "failures list": [
        ("nonsense", {}, 2, "'nonsense' is not an S3 address"),
        ("--since soon", {}, 2, "--since: 'soon' is no time"),
        ("--until soon", {}, 2, "--until: 'soon' is no time"),
        ("", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "failures redrive": [
        ("--since soon", {}, 2, "--since: 'soon' is no time"),
        ("--reason tired", {}, 2, "tired"),
        ("", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "failures show": [
        ("nonsense", {}, 2, "'nonsense' is not an S3 address"),
        ("s3://b/a", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "feed": [("b", {}, 2, "b"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "frames": [
        ("s3://b", {}, 2, "is a bucket"),
        ("/no/such/video.mp4", {}, 2, "no such file"),
        ("a.mp4 --out /no/such/folder.png", {}, 2, "--out: /no/such is no folder"),
        ("a.mp4", NONSENSE, 78, "JAMAK_OUTPUT"),
        ("ftp://h/a.mp4", {}, 2, "this is no address"),
        ("http://127.0.0.1:1/a.mp4", {}, 1, "JAMAK_ADDRESSES"),
    ],
    "get": [
        ("nonsense", {}, 2, "'nonsense' is not an S3 address"),
        ("s3://b/a s3://b/b", {}, 2, "--out"),
        ("s3://b/a", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "listen": [("b", {}, 2, "b"), ("", {}, 78, "JAMAK_EVENTS_QUEUE_URL is not set")],
    "plan": [
        ("--model nothing/known", {}, 2, "vicuna-7b, yi-34b, qwen3-8b"),
        ("--model yi-34b --card t4", {}, 1, "A card of class l4 holds it."),
        ("--train rlhf", {}, 2, "'rlhf' is no stage of training"),
        ("", {"JAMAK_CARD": "x"}, 78, "JAMAK_CARD"),
    ],
    "poison drop": [("--dropped", {}, 2, "--dropped"), ("a", NONSENSE, 78, "JAMAK_OUTPUT")],
    "poison list": [("all", {}, 2, "all"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "poison redrive": [("--went", {}, 2, "--went"), ("a", NONSENSE, 78, "JAMAK_OUTPUT")],
    "poison show": [("", {}, 2, "Missing argument"), ("a", NONSENSE, 78, "JAMAK_OUTPUT")],
    "qa": [
        ("", {}, 2, "Missing option '--suite'"),
        ("--suite msvd-qa", {}, 2, "--suite: 'msvd-qa' names no folder"),
        ("--suite coco=.", {}, 2, "'coco' is no known set"),
        ("--suite tgif-qa=/no/such", {}, 2, "/no/such"),
        ("--suite msvd-qa=.", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "recaption": [
        ("", {}, 2, "Missing option '--where'"),
        ("--where adaptor!=active", {}, 2, "captions have no field 'adaptor'"),
        ("s3:///a --where status=ok", {}, 2, "'s3:///a' is not an S3 address"),
        ("--where status=ok", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "reconcile": [
        ("s3:///a", {}, 2, "'s3:///a' is not an S3 address"),
        ("b", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "retrain": [
        ("--watch --dry-run", {}, 2, "--watch goes with neither --dry-run nor --json"),
        ("--rules none.yaml", {}, 2, "none.yaml: there is no such file"),
        (f"--rules {__file__}", {}, 78, "test_cli.py is no YAML"),
        ("", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "scale explain": [
        ("p100", {}, 2, "p100 is no class that is scaled"),
        ("l4", {"JAMAK_SCALE_CLASSES": "t4,a100"}, 2, "l4 is no class that is scaled"),
        ("", {"JAMAK_SCALE_CLASSES": "p100"}, 78, "JAMAK_SCALE_CLASSES"),
        ("", {"JAMAK_SLO_S": "0"}, 78, "JAMAK_SLO_S"),
    ],
    "adapters watch": [
        ("all", {}, 2, "all"),
        ("", {"JAMAK_CANARY_MARGIN": "1"}, 78, "CANARY_MARGIN"),
    ],
    "scale serve": [("all", {}, 2, "all"), ("", {}, 78, "JAMAK_METRICS_PORT")],
    "show": [
        ("nonsense", {}, 2, "Write s3://bucket/key."),
        ("s3://no[such]/x", {}, 2, "'no[such]' cannot be the name of a bucket"),
        ("s3://b", {}, 2, "is a bucket"),
        ("https://[/a", {}, 2, "this is no address"),
        ("s3://b/a", NONSENSE, 78, "JAMAK_OUTPUT"),
        ("s3://b/a", {"AWS_ENDPOINT_URL": "nonsense"}, 78, "S3: Invalid endpoint: nonsense"),
    ],
    "data import": [
        ("aihub", {}, 2, "Missing argument"),
        ("coco . --to m.jsonl", {}, 2, "'coco' is not one of"),
        ("csv /no/such --to m.jsonl", {}, 2, "/no/such: there is no such file or folder"),
        ("csv . --to /no/such/m.jsonl", {}, 2, "/no/such is no folder"),
        ("csv . --to .", {}, 2, ". is no file"),
        (f"csv . --to {__file__}", {}, 2, "is there already"),
        ("csv . --to m.jsonl --media /", {}, 2, "/ is not in the folder of the manifest"),
        ("csv s3:///a --to m.jsonl", {}, 2, "'s3:///a' is not an S3 address"),
        ("csv . --to m.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "data split": [
        ("m.jsonl", {}, 2, "Missing option '--to'"),
        ("/no/such --to m.jsonl", {}, 2, "/no/such: there is no such file"),
        ("/no/such --to m.jsonl --eval 1", {}, 2, "--eval"),
        ("m.jsonl --to n.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "model swap-backbone": [
        ("", {}, 2, "Missing option '--base'"),
        ("--base /no/such --language-model . --into x", {}, 2, "/no/such"),
        ("--base . --language-model . --into /no/such/x", {}, 2, "/no/such is no folder"),
        ("--base . --language-model . --into x", {}, 78, "config.json cannot be read"),
    ],
    "status": [
        ("now", {}, 2, "now"),
        ("", NONSENSE, 78, "JAMAK_OUTPUT"),
        ("", NO_REDIS, 1, "Redis cannot be reached"),
    ],
    "train cancel": [("", {}, 2, "Missing argument"), ("j", NONSENSE, 78, "JAMAK_OUTPUT")],
    "train list": [("--limit 0", {}, 2, "--limit"), ("", NONSENSE, 78, "JAMAK_OUTPUT")],
    "train status": [("", {}, 2, "Missing argument"), ("j", NONSENSE, 78, "JAMAK_OUTPUT")],
    "train logs": [("", {}, 2, "Missing argument"), ("j", NONSENSE, 78, "JAMAK_OUTPUT")],
    "train pause": [("", {}, 2, "Missing argument"), ("j", NONSENSE, 78, "JAMAK_OUTPUT")],
    "train resume": [("", {}, 2, "Missing argument"), ("j", NONSENSE, 78, "JAMAK_OUTPUT")],
    "train align": [
        ("", {}, 2, "--data"),
        ("--data s3://b/m --loss sigmoid", {}, 2, "sigmoid"),
        ("--data s3://b/m.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "train dpo": [
        ("", {}, 2, "--data"),
        ("--data s3://b/m --loss hinge --loss-weight -1", {}, 2, "--loss-weight: "),
        ("--data s3://b/m --replay nonsense", {}, 2, "'nonsense' is not an S3 address"),
        ("--data s3://b/m.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "train kto": [
        ("", {}, 2, "--data"),
        ("--data s3://b/m --batch-size 1", {}, 2, "a batch has 1"),
        ("--data s3://b/m.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "train sft": [
        ("", {}, 2, "--data"),
        ("--data nonsense", {}, 2, "'nonsense' is not an S3 address"),
        ("--data s3://b/m.jsonl", NONSENSE, 78, "JAMAK_OUTPUT"),
    ],
    "train submit": [
        ("", {}, 2, "Missing argument"),
        ("/no/such/job.yaml", {}, 2, "/no/such/job.yaml"),
        (__file__, NONSENSE, 78, "JAMAK_OUTPUT"),
        (__file__, {}, 2, "is no YAML"),
    ],
    "upload": [
        ("/no/such/file s3://b/", {}, 2, "/no/such/file"),
        (f"{__file__} s3://b/prefix", {}, 2, "End it with a slash: s3://b/prefix/"),
        (f"{__file__} s3://b/", {"AWS_ENDPOINT_URL": "nonsense"}, 78, "S3: Invalid endpoint"),
    ],
}
"""Words, environment, exit code, what is said. Nothing here needs a server."""

NO_VARIABLE_CAN_BE_WRONG = {"demo"}


def test_every_verb_has_a_row_for_each_code_that_it_can_end_with() -> None:
    assert {" ".join(words) for words, _ in leaves()} == set(ROWS)
    for verb, rows in ROWS.items():
        codes = {code for _, _, code, _ in rows}
        assert codes >= {2} | ({78} - ({78} if verb in NO_VARIABLE_CAN_BE_WRONG else set())), verb


@pytest.mark.parametrize(
    ("verb", "words", "env", "code", "said"),
    [(verb, *row) for verb, rows in ROWS.items() for row in rows],
    ids=[f"{verb} {row[0]}-{row[2]}" for verb, rows in ROWS.items() for row in rows],
)
def test_what_is_wrong_is_named_and_has_an_exit_code(
    alone: pytest.MonkeyPatch, verb: str, words: str, env: dict[str, str], code: int, said: str
) -> None:
    for name, value in env.items():
        alone.setenv(name, value)
    line = [*verb.split(), *words.split()]
    if verb in WITHOUT_JSON and code != 2:  # it has a process of its own
        process = jamak(*line, **env)
        assert (process.returncode, process.stdout) == (code, "")
        assert said in process.stderr
        return
    done = jamak_here(alone, *line)
    assert done.code == code, done.err
    if verb == "doctor":  # what is wrong is its answer
        assert code == 2 or said in done.out
    else:
        assert done.out == ""
        assert said in done.err
    assert "Traceback" not in done.err
    # And for programs: one line on stdout, and nothing else.
    for form in (["--json"], ["-o", "json"]):
        told = jamak_here(alone, *line, *form)
        assert told.code == code
        (found,) = told.out.splitlines()
        error = json.loads(found)["error"]
        assert set(error) == {"reason", "message", "cure", "exit_code"}
        assert error["exit_code"] == code
        if verb not in WITHOUT_JSON | {"doctor"}:
            assert said in f"{error['message']} {error['cure']}"


WITHOUT_JSON = {"feed", "listen", "get", "scale serve", "adapters watch"}
"""Verbs that run until they are stopped, and log; and one that answers with a file."""


def test_all_that_answer_take_json_and_o() -> None:
    for words, command in leaves():
        options = {name for option in command.params for name in option.opts}
        assert ({"--json", "-o", "--output"} <= options) is (" ".join(words) not in WITHOUT_JSON)


def test_a_word_that_is_no_verb_is_told_with_the_one_that_was_meant(
    alone: pytest.MonkeyPatch,
) -> None:
    said = jamak_here(alone, "staus", "--json")
    assert said.code == 2
    assert "status" in json.loads(said.out)["error"]["message"]


def test_a_fault_of_ours_is_shown_whole_and_still_json(alone: pytest.MonkeyPatch) -> None:
    def fails(settings: object) -> None:
        raise ZeroDivisionError("of ours")

    alone.setattr("producer.verbs.captions.read_status", fails)
    said = jamak_here(alone, "status", "--json")
    assert said.code == 1
    assert "ZeroDivisionError: of ours" in json.loads(said.out)["error"]["message"]
    assert "Traceback" in said.err


def test_what_the_machine_does_not_let_us_do_is_no_traceback(
    alone: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def denied(settings: object) -> None:
        (tmp_path / "absent" / "file").read_bytes()

    alone.setattr("producer.verbs.captions.read_status", denied)
    said = jamak_here(alone, "status")
    assert (said.code, "Traceback" in said.err) == (1, False)
    assert f"{tmp_path}/absent/file: No such file or directory" in said.err


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("status --json", True),
        ("status -o json", True),
        ("status --output=json", True),
        ("status -ojson", True),
        ("status -o wide", False),
        ("show -- --json", False),
        ("show json", False),
    ],
)
def test_json_is_asked_for_in_any_of_its_ways(line: str, wanted: bool) -> None:
    assert asks_for_json(line.split()) is wanted


def test_an_answer_of_no_is_told_as_json_too(alone: pytest.MonkeyPatch) -> None:
    answer = Screen("utf-8", True)
    answer.write("n\n")
    answer.seek(0)
    alone.setattr(sys, "stdin", answer)
    done = jamak_here(alone, "backlog", "delete", "films", "--json")
    assert done.code == 1
    assert json.loads(done.out)["error"]["message"] == "nothing was done"
    assert "nothing was done" in done.err


@pytest.mark.parametrize("line", ["--help", "cards", "cards --json", "cards -o wide"])
def test_a_reader_who_has_seen_enough_is_no_error(line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *line.split()],
        env=clean_environ(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    # Of a terminal: what a shell runs in its background ignores Ctrl-C from its start.
    attended = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = clean_environ() | {"JAMAK_REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}"}
        with subprocess.Popen(
            [sys.executable, "-c", attended + MAIN, "status", "--json"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = silent.accept()
            with connection:  # it waits for an answer now
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


# What identifies is never cut

KEY = "s3://jamak-videos/2026/seoul/camera-17/" + "0123456789abcdef" * 8 + "/:a:smile:영상.mp4"


def grid() -> Grid:
    table = Grid("video", "state", "message", wide=("etag",))
    table.add_row(KEY, "failed", "the file ends too early", "e" * 32)
    return table


def shown(patch: pytest.MonkeyPatch, columns: int | None, *, wide: bool = False) -> str:
    with speaking(patch, columns=columns) as (screen, _):
        console = Whole()
        console.wide = wide
        patch.setattr("shared.console.out.wide", wide)
        console.print(grid())
        patch.setattr("shared.console.out.wide", False)
        return re.sub("\x1b\\[[0-9;]*m", "", screen.text())


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_folds_keys(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    lines = shown(monkeypatch, columns).splitlines()
    pieces = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert "".join(pieces) == KEY
    assert all(len(line) <= columns for line in lines)


@pytest.mark.parametrize(("columns", "wide"), [(None, False), (40, True), (None, True)])
def test_elsewhere_a_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch, columns: int | None, wide: bool
) -> None:
    header, row = shown(monkeypatch, columns, wide=wide).splitlines()
    assert KEY in row
    assert "the file ends too early" in row
    assert ("e" * 32 in row) is wide
    assert ("etag" in header) is wide
    assert row == row.rstrip()


def test_a_cell_of_several_lines_is_one_where_a_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Grid()
    table.add_row("workers", "one\ntwo")
    with speaking(monkeypatch) as (screen, _):
        Whole().print(table)
        assert screen.text() == "workers  one two\n"


def test_a_table_without_a_title_is_printed_in_korean_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_LANG", "ko")
    with speaking(monkeypatch) as (screen, _):
        Whole().print(Grid("video", title=None))
        assert screen.text() == "영상\n"


def test_colours_in_a_pipe_fold_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert len(shown(monkeypatch, None).splitlines()) == 2


def test_a_key_cannot_speak_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with speaking(monkeypatch, columns=80) as (screen, _):
        table = Grid("key")
        table.add_row("\x1b]0;title\x07")
        Whole().print(table, "\x1b[31m")
        assert "\x1b]" not in screen.text()
        assert "\x1b[31m" not in screen.text()


def test_o_is_one_option_for_both_forms(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("JAMAK_DEVICE", "cpu")
    told = jamak_here(alone, "cards", "-o", "json")
    assert told.out == jamak_here(alone, "cards", "--json").out
    assert json.loads(told.out)["here"] == "cpu"
    on_terminal = jamak_here(alone, "cards", columns=60).out
    assert "┃" in on_terminal
    wide = jamak_here(alone, "cards", "-o", "wide", columns=60).out
    assert "┃" not in wide
    assert any(
        line.startswith("h100") and line.endswith("caption.h100") for line in wide.splitlines()
    )
    assert jamak_here(alone, "cards", columns=60).out == on_terminal  # it does not stay


# Any terminal

FORCED = {"PYTHONIOENCODING": "ascii", "TERM": "dumb"}
POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"}


NO_ADDRESS = "\\ud55c\\uad6d\\uc5b4' is not an S3 address"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("--help", 0, "Usage: jamak"),
        ("cards", 0, "It would serve: caption.t4"),
        ("cards --json", 0, '"here": "cpu"'),
        ("show 한국어", 2, NO_ADDRESS),
        ("show 한국어 --json", 2, NO_ADDRESS),
    ],
)
def test_a_terminal_of_ascii_gets_replacements(
    alone: pytest.MonkeyPatch, line: str, code: int, said: str
) -> None:
    alone.setenv("JAMAK_DEVICE", "cpu")
    done = jamak_here(alone, *line.split(), encoding="ascii")
    assert done.code == code
    assert said in done.out + done.err
    assert (done.out + done.err).isascii()
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("env", "line", "said"),
    [
        (FORCED, "cards", "It would serve: caption.t4"),
        (FORCED, "show 한국어", NO_ADDRESS),
        (POSIX, "cards", "It would serve: caption.t4"),
        (POSIX, "show 한국어 --json", NO_ADDRESS),
    ],
)
def test_a_process_finds_out_that_its_terminal_is_one_of_ascii(
    env: dict[str, str], line: str, said: str
) -> None:
    done = jamak(*line.split(), JAMAK_DEVICE="cpu", **env)
    assert said in done.stdout + done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert "Traceback" not in done.stderr


def test_what_a_terminal_of_ascii_lacks_is_replaced_by_what_is_as_wide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with speaking(monkeypatch, "ascii", columns=80) as (out, err):
        table = Grid("key", "")
        table.add_row("한국.mp4", "← in use")
        Whole().print(table)
        lines = out.text().splitlines()
        assert any("????.mp4" in line and "< in use" in line for line in lines)
        assert len({len(line) for line in lines}) == 1
        Whole(stderr=True).print("uploading 한국 …")
        assert err.text() == "uploading \\ud55c\\uad6d ...\n"


def test_a_progress_bar_of_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    from producer.verbs.console import bars

    with speaking(monkeypatch, "ascii", columns=80) as (_, err):
        with bars() as bar:
            bar.advance(bar.add_task("읽는 중 s3://[b]/[/x]", total=2))
        assert "s3://[b]/[/x]" in err.text()
        assert "1/2" in err.text()


def test_an_argument_that_is_no_utf_8_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "show", b"s3://b/\xff.mp4", "--json"],
        env=clean_environ(),
        capture_output=True,
    )
    assert done.returncode == 2
    assert "is not UTF-8" in json.loads(done.stdout)["error"]["message"]


# Completion


def offered(words: str, **env: str) -> list[str]:
    """As bash asks: the last word is being typed."""
    typed = words.split(" ")
    asked = {
        "_JAMAK_COMPLETE": "complete_bash",
        "COMP_WORDS": f"jamak {words}",
        "COMP_CWORD": str(len(typed)),
    }
    done = run_warm(["jamak"], {**clean_environ(), **asked, **env}, ROOT, 120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_verbs_options_and_reasons_are_completed() -> None:
    assert offered("ca") == ["cards"]
    assert offered("backlog pa") == ["pause"]
    assert set(offered("backlog status --")) >= {"--watch", "--json", "--output"}
    assert offered("failures list --reason trunc") == ["truncated"]
    assert "store_unavailable" in offered("failures redrive --reason ")


@pytest.mark.parametrize("words", ["backlog status b", "adapters activate a", "export b"])
@pytest.mark.parametrize(
    "env", [NONSENSE, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, {"AWS_PROFILE": "no-such"}]
)
def test_a_completion_that_cannot_be_had_is_silent(words: str, env: dict[str, str]) -> None:
    assert offered(words, **env) == []


def test_nothing_of_a_completion_reaches_the_terminal() -> None:
    code = (
        "import os, sys\n"
        "from producer.verbs.completion import complete\n"
        "class Broken:\n"
        "    def main(self, *_, **__): os.write(2, b'noise'); raise ZeroDivisionError\n"
        "sys.exit(complete(Broken()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_the_shell_is_told_how_to_ask(tmp_path: Path) -> None:
    bin_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**clean_environ(), "PATH": bin_path, "HOME": str(tmp_path)}
    # A shell finds out which shell it is from its process, so it must not become the command.
    script = 'jamak --show-completion && jamak --install-completion; echo "ended $?"'
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
    assert "_JAMAK_COMPLETE=complete_bash" in done.stdout
    assert done.stdout.endswith("ended 0\n")
    (installed,) = tmp_path.rglob("jamak.sh")
    # And what it was told works, in a real bash.
    asks = f"source {installed}; COMP_WORDS=(jamak fra); COMP_CWORD=1; _jamak_completion jamak; "
    done = subprocess.run(
        ["bash", "-c", f'{asks} echo "${{COMPREPLY[@]}}"'], env=env, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("frames\n", "")
