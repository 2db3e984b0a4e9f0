"""What each verb says, wherever it is read: a terminal, a pipe, a program, a terminal of ASCII."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.procfile import ROOT
from infra.local.stack import DEMO_MODEL
from producer.jobs.training import Training
from shared.bucket.records import Records
from shared.bucket.training_files import TrainingFiles
from shared.messages import ModelIdentity
from shared.prompts import BASE_PROMPT
from shared.training import TrainJob
from tests.adapters import publish
from tests.backlogs import caption_of, failure_of
from tests.terminal import jamak_here, leaves
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.warm import run_warm
from tests.world import World

pytestmark = pytest.mark.integration

FOLDER = "2026/서울/" + "a-long-name-of-a-camera/" * 4
BASE = ModelIdentity(id="m", revision="r", weights_sha256="c" * 64)


@pytest.fixture(scope="module")
def place(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A bucket in which every verb finds something to show, and what a verb is called with."""
    folder = tmp_path_factory.mktemp("place")
    records = Records(world.store, world.settings)
    done, failed, waiting = (
        world.upload(write_clip(folder / f"{name}.mp4", 12), f"{FOLDER}{name} [/x].mp4")
        for name in ("done", "failed", "waiting")
    )
    records.write(world.job(done), caption_of(world.job(done)))
    records.render(caption_of(world.job(done)))
    records.write_failure(world.job(failed), failure_of(world.job(failed)))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_bytes(b"{}")
    version = publish(world.registry, folder, BASE).version
    world.store.put(world.output, "set/manifest.jsonl", b"")
    table = folder / "captions.csv"
    table.write_text("key,caption\na.mp4,고양이\nb.mp4,개\n,이름 없음\n")
    rows = [
        {"id": one.key, "videos": [{"uri": one.uri}], "completion": "빨간 원이 움직입니다."}
        for one in (done, waiting)
    ]
    said = "\n".join(map(json.dumps, rows)).encode()
    world.store.put(world.output, "set/rows.jsonl", said)
    asked = folder / "job.yaml"
    asked.write_text(f"stage: sft\ndata: s3://{world.output}/set/manifest.jsonl\n")
    return {
        "done": done.uri,
        "table": str(table),
        "asked": str(asked),
        "set": f"s3://{world.output}/set/",
        "failed": failed.uri,
        "waiting": waiting.uri,
        "source": f"s3://{world.videos}/{FOLDER}",
        "version": version,
        "clip": str(folder / "done.mp4"),
        "to": str(folder / "set [/x]"),
        "videos": f"s3://{world.videos}/",
        "data": f"s3://{world.output}/set/manifest.jsonl",
        "rows": f"s3://{world.output}/set/rows.jsonl",
        "pairs": f"s3://{world.output}/set/pairs",
    }


RAW = "get {done}"
"""Answers with a file."""

SAID = {
    "cards": ("cards", "caption.t4"),
    "costs": ("costs", "no worker has written down what it did since "),
    "upload": ("upload {clip} {videos}up/", "{videos}up/done.mp4"),
    "show": ("show {done}", "{done}"),
    "enqueue": ("enqueue {waiting}", "1 enqueued on caption.t4"),
    "status": ("status", "caption.t4"),
    "scale explain": ("scale explain train", "replicas wanted"),
    "backlog plan": ("backlog plan {source}", "captioned by this recipe"),
    "backlog start": ("backlog start b-{n} {source}", "{source}"),
    "backlog list": ("backlog list", "{source}"),
    "backlog status": ("backlog status b-{n}", "{source}"),
    "backlog pause": ("backlog pause b-{n}", "b-{n} is paused"),
    "backlog resume": ("backlog resume b-{n}", "b-{n} is running"),
    "recaption": ("recaption {source} --where adapter=none", "to do: 1"),
    "reconcile": ("reconcile {source} --dry-run", "missing"),
    "get": (RAW, "의 자막"),
    "backlog cancel": ("backlog cancel b-{n}", "b-{n} is cancelled"),
    "backlog delete": ("backlog delete b-{n} --yes", "b-{n} is deleted"),
    "export": ("export {source} --to {to}{n}", "{to}{n}"),
    "failures list": ("failures list", "{failed}"),
    "failures show": ("failures show {failed}", "upload it again"),
    "failures redrive": ("failures redrive", "would be sent again: truncated 1"),
    "feedback add": ("feedback add {done} --reviewer kim --up", "thumb on s3://"),
    "feedback list": ("feedback list", "1 said of 1 captions"),
    "feedback export": ("feedback export --to {clip}.{n}.jsonl", "{clip}.{n}.jsonl"),
    "feedback import": ("feedback import jsonl {clip}.{n}.jsonl", "1 were said before"),
    "adapters list": ("adapters list", "{version}"),
    "adapters show": ("adapters show {version}", "{version}"),
    "adapters diff": ("adapters diff {version} {version}", "their weights are the same"),
    "adapters verify": ("adapters verify {version}", "{version}"),
    "adapters activate": ("adapters activate {version}", "in use: {version}"),
    "adapters rollback": ("adapters rollback --base c", "in use: "),
    "adapters canary": ("adapters canary {version} 5%", "on trial: {version}, with 5%"),
    "adapters promote": ("adapters promote {version}", "in use: {version}"),
    "data stats": (
        "data stats {rows} --no-media --out {clip}.{n}.stats.png",
        "{clip}.{n}.stats.png",
    ),
    "data validate": ("data validate {rows} --no-media", "{rows}"),
    "frames": ("frames {clip} --out {clip}.{n}.png", "{clip}.{n}.png"),
    "data import": ("data import csv {table} --to {set}{n}.jsonl", "{set}{n}.jsonl"),
    "data split": ("data split {set}{n}.jsonl --to {set}{n}.parquet", "{set}{n}.parquet"),
    "data pairs": (
        "data pairs {rows} --to {pairs}{n}.jsonl --draws 0 --frames-in reversed",
        "{pairs}{n}.jsonl",
    ),
    "train sft": ("train sft --data {data}", "queued: training job"),
    "train align": ("train align --data {data}", "queued: training job"),
    "train kto": ("train kto --data {data}", "queued: training job"),
    "train dpo": ("train dpo --data {data}", "queued: training job"),
    "train submit": ("train submit {asked}", "queued: training job"),
    "train list": ("train list", "queued"),
    "train status": ("train status {job}", "{job}"),
    "train logs": ("train logs {job}", "train 1 of 2"),
    "train pause": ("train pause {job}", "paused: training job {job}"),
    "train resume": ("train resume {job}", "queued: training job {job}"),
    "train cancel": ("train cancel {job}", "{job}"),
}
"""What a verb is called with, and what it says in a pipe; in an order in which it can."""

ELSEWHERE = {
    "demo",
    "doctor",
    "eval",
    "feed",
    "listen",
    "model swap-backbone",
    "plan",
    "qa",
    "adapters gate",
    "adapters prune",
    "adapters watch",
    "retrain",
    "scale serve",
}
ELSEWHERE |= {"poison list", "poison show", "poison redrive", "poison drop"}
"""They have tests of their own, or log."""


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[pytest.MonkeyPatch]:
    for name, value in {**world.env, "JAMAK_MODEL_PATH": str(DEMO_MODEL)}.items():
        monkeypatch.setenv(name, value)
    yield monkeypatch


def values(world: World, place: dict[str, str], n: str) -> dict[str, str]:
    """Of one round, with a training job of its own."""
    job = TrainJob(id=f"job-{n}", data=place["data"], model="m", revision="1", prompt=BASE_PROMPT)
    Training(world.settings, world.store, world.training).submit(job)
    files = TrainingFiles(world.store, world.output, world.prefix)
    files.put(job.id, "log.txt", b"2026-11-30 00:12:50  train 1 of 2\n")
    return {**place, "n": n, "job": job.id}


def call(words: str, told: dict[str, str]) -> list[str]:
    return [word.format_map(told) for word in words.split()]


def test_every_verb_is_here() -> None:
    assert {" ".join(words) for words, _ in leaves()} == set(SAID) | ELSEWHERE


def test_in_a_pipe_what_identifies_is_whole(
    patch: pytest.MonkeyPatch, world: World, place: dict[str, str]
) -> None:
    told = values(world, place, "pipe")
    for words, said in SAID.values():
        done = jamak_here(patch, *call(words, told))
        assert done.code == 0, (words, done.err)
        expected = said.format_map(told)
        assert any(expected in line for line in done.out.splitlines()), (words, done.out)


def test_programs_get_one_line_of_json_from_every_verb(
    patch: pytest.MonkeyPatch, world: World, place: dict[str, str]
) -> None:
    told = values(world, place, "json")
    for words in [words for words, _ in SAID.values() if words != RAW]:
        done = jamak_here(patch, *call(words, told), "-o", "json")
        assert done.code == 0, (words, done.err)
        (line,) = done.out.splitlines()
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("columns", [60, None])
def test_ascii_breaks_no_verb(
    patch: pytest.MonkeyPatch, world: World, place: dict[str, str], columns: int | None
) -> None:
    told = values(world, place, f"ascii-{columns or 0}")
    for words in [words for words, _ in SAID.values() if words != RAW]:
        done = jamak_here(patch, *call(words, told), encoding="ascii", columns=columns)
        assert done.code == 0, (words, done.err)
        assert done.out.isascii(), words
    told = jamak_here(patch, "show", place["done"], "--json", encoding="ascii")
    assert told.out.isascii()
    assert json.loads(told.out)["video"]["key"].startswith("2026/서울/")


def test_the_posix_locale_breaks_no_verb(
    patch: pytest.MonkeyPatch, world: World, place: dict[str, str]
) -> None:
    told = values(world, place, "posix")
    calls = [call(words, told) for words, _ in SAID.values() if words != RAW]
    code = (
        "import json, os, sys\n"
        "from producer.cli import run\n"
        "from shared.console import speak_in_any_encoding\n"
        "speak_in_any_encoding()\n"
        "for words in json.load(sys.stdin):\n"
        "    assert run([os.fsdecode(word.encode()) for word in words]) == 0, words  # as argv is"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "TERM": "dumb"},
        input=json.dumps(calls).encode(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.isascii()


def test_on_a_terminal_keys_are_folded_and_whole(
    patch: pytest.MonkeyPatch, place: dict[str, str]
) -> None:
    done = jamak_here(patch, "failures", "list", columns=80)
    cells = [line.split("│")[2].strip() for line in done.out.splitlines() if "│" in line]
    joined = "".join(cells)
    # A terminal folds at spaces, too, and these are not shown at the end of a line.
    assert place["failed"].replace(" ", "") in joined.replace(" ", "")


def test_wide_has_columns_that_are_not_shown_otherwise(
    patch: pytest.MonkeyPatch, world: World, place: dict[str, str]
) -> None:
    assert world.recipe.id not in jamak_here(patch, "failures", "list").out
    wide = jamak_here(patch, "failures", "list", "-o", "wide", columns=80).out
    (row,) = (line for line in wide.splitlines() if place["failed"] in line)
    assert world.recipe.id in row


def test_a_part_that_was_refused_is_told_beside_the_error(
    patch: pytest.MonkeyPatch, place: dict[str, str]
) -> None:
    nowhere = f"{place['videos']}nowhere"
    done = jamak_here(patch, "enqueue", nowhere, place["done"], "--json")
    assert done.code == 1
    (line,) = done.out.splitlines()
    told = json.loads(line)
    assert (told["already"], list(told["refused"])) == (1, [nowhere])
    assert (told["error"]["reason"], told["error"]["exit_code"]) == ("unfinished", 1)
    done = jamak_here(patch, "show", place["failed"], "--json")
    assert done.code == 1
    told = json.loads(done.out)
    assert (told["reason"], told["error"]["exit_code"]) == ("truncated", 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("show {videos}nowhere.mp4", 2, "does not exist"),
        ("show s3://no-such-bucket-of-ours/a.mp4", 2, "named by the argument s3://no-such-"),
        ("upload {clip} s3://no-such-bucket-of-ours/", 2, "named by the argument s3://no-such-"),
        ("show {waiting}", 1, "has no caption yet"),
        ("get {waiting}", 1, "has no caption yet"),
        ("train status nowhere", 2, "there is no training job nowhere"),
        ("backlog delete nowhere --yes", 2, "there is no backlog nowhere"),
        ("frames {videos}nowhere.mp4", 2, "does not exist"),
        ("enqueue {videos}nowhere", 1, "nothing is at"),
        ("backlog status nowhere", 2, "there is no backlog nowhere"),
        ("backlog pause nowhere", 2, "there is no backlog nowhere"),
        ("backlog resume nowhere", 2, "there is no backlog nowhere"),
        ("backlog cancel nowhere", 2, "there is no backlog nowhere"),
        ("reconcile nowhere", 2, "there is no backlog nowhere"),
        ("export nowhere --to {to}", 2, "there is no backlog nowhere"),
        ("export {source} --to /proc/nowhere", 1, "/proc/nowhere"),
        ("adapters activate nowhere", 2, "begin with 'nowhere'"),
        ("train sft --data {videos}nowhere", 2, "does not exist"),
    ],
)
def test_what_is_not_there(
    patch: pytest.MonkeyPatch, place: dict[str, str], words: str, code: int, said: str
) -> None:
    as_json = [] if words.startswith("get") else ["--json"]
    done = jamak_here(patch, *call(words, place), *as_json)
    assert done.code == code, done.err
    for line in done.out.splitlines() if as_json else []:
        assert json.loads(line)["error"]["exit_code"] == code
    assert len(done.out.splitlines()) == len(as_json)
    assert said in done.err
    assert "Traceback" not in done.err


def test_names_that_only_the_bucket_knows_are_completed(
    patch: pytest.MonkeyPatch, world: World, place: dict[str, str]
) -> None:
    jamak_here(patch, "backlog", "start", "completed-one", place["source"])
    for words, expected in (
        ("backlog status comp", "completed-one"),
        ("reconcile comp", "completed-one"),
        (f"adapters activate {place['version'][:3]}", place["version"]),
        (f"train sft --from {place['version'][:3]}", place["version"]),
    ):
        asked = {
            "_JAMAK_COMPLETE": "complete_bash",
            "COMP_WORDS": f"jamak {words}",
            "COMP_CWORD": str(len(words.split())),
        }

        def completes(asked: dict[str, str] = asked, expected: str = expected) -> bool:
            done = run_warm(["jamak"], {**os.environ, **asked}, ROOT, 120)
            # Whoever types waits for a second at most; on a slow machine that says nothing.
            assert (done.stdout.split() or [expected], done.stderr) == ([expected], "")
            return done.stdout != ""

        wait_until(completes, 20, words)


def test_keys_on_standard_input_are_utf_8_whatever_the_locale_says(
    patch: pytest.MonkeyPatch, place: dict[str, str]
) -> None:
    def plan(keys: bytes) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "producer.cli", "backlog", "plan", "-", "--json"],
            env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
            input=keys,
            capture_output=True,
        )

    assert json.loads(plan(place["done"].encode()).stdout)["videos"] == 1
    wrong = plan(b"s3://bucket/\xff.mp4")
    assert wrong.returncode == 2
    assert "is not UTF-8" in json.loads(wrong.stdout)["error"]["message"]


def test_ctrl_c_ends_a_feeder_in_order(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen([sys.executable, "-m", "producer.cli", "feed"], stderr=stderr) as feeder,
    ):
        try:
            wait_until(lambda: '"feeding"' in log.read_text(), 60, "the feeder")
            feeder.send_signal(signal.SIGINT)
            assert feeder.wait(60) == 128 + signal.SIGINT
        finally:
            feeder.kill()
    assert "Traceback" not in log.read_text()
