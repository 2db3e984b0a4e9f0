"""The programs that show what we claim still run, and say before they start how long they take."""

import ast
import base64
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learning, loop, mutants
from benchmarks.goals import judged
from benchmarks.gpu.__main__ import Clock
from benchmarks.korean_tokenizers import PACKAGES, llama_files
from benchmarks.korean_tokenizers import read as read_as_model
from benchmarks.learning_parts import QUICK, Plan
from benchmarks.loop_stream import pauses_s
from benchmarks.mutated_trees import Mutation, Stale, Tree, read_mutations
from benchmarks.programs import PROGRAMS, duration, how_long, need
from infra.local.procfile import ROOT
from tests.warm import run_warm
from workers.model.prompt import text_of

pytestmark = pytest.mark.integration

MOST_QUICK_S = 12
"""On a quiet machine; on a busy one nobody can tell."""


def run(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", *options]
    done = run_warm(command, os.environ, ROOT, 600)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{name}: {how_long(name, quick=True)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_autoscale(tmp_path: Path) -> None:
    found = run("autoscale", "--into", str(tmp_path / "told.json"))
    assert json.loads((tmp_path / "told.json").read_text())["result"] == found
    policies = ["jamak", "keda_llen", "skypilot", "fixed", "oracle"]
    assert [(row["name"], row["policy"]) for row in found["scenarios"]] == [
        (name, policy) for name in ("burst", "spot") for policy in policies
    ]
    for row in found["scenarios"]:
        assert row["p95_s"] >= row["p50_s"] > 0
        assert row["cost_ratio_to_oracle"] >= (1 if row["policy"] == "oracle" else 0)
    assert found["scenarios"][0]["busy_killed"] == 0
    assert {goal["reached"] for goal in found["goals"]} == {True, False}


def test_judge() -> None:
    found = run("judge")
    assert list(found)[:3] == ["kendall_tau", "auc", "metrics"]
    assert next(iter(found["metrics"])) == "chrf"
    assert found["kendall_tau"] >= 0.9
    assert found["auc"] >= 0.99
    assert set(found["weak"]) == {name for name, one in found["metrics"].items() if one["weak"]}
    assert found["one_reference"]["auc"] < found["auc"]
    # The model knows what it sees; and who looks for faults of another kind finds those.
    assert found["metrics"]["logp"]["kendall_tau"] >= 0.9
    own = {name: one["auc_own"] for name, one in found["metrics"].items() if "auc_own" in one}
    assert own.keys() == {"hangul", "repetitive", "empty", "cut"}
    assert min(own.values()) >= 0.99


def test_canary() -> None:
    found = run("canary")
    assert found["runs"] == 2
    assert found["found_paired_median"] < 1000
    assert found["promoted_paired_median"] > 200  # nobody can know sooner
    fleet = found["fleet"]
    assert [fleet[name] for name in ("lost", "failed", "mislabelled")] == [0, 0, 0]
    # Of so few nobody knows yet: all of them were in the trial, and each is on one of its sides.
    assert fleet["arms"].keys() <= {"canary", "incumbent"}
    assert sum(fleet["arms"].values()) == fleet["videos"]
    assert fleet["bad_published"] == fleet["arms"].get("canary", 0)
    assert fleet["bad_published_share"] <= 0.5


def test_delivery() -> None:
    report = run("delivery")["jamak"]
    assert report["jobs"] == 16
    for nothing in ("lost_before_reconcile", "lost", "published_twice", "rejected_healthy"):
        assert report[nothing] == 0


def test_dispatch() -> None:
    found = run("dispatch")
    assert set(found) == {"jamak", "celery"}
    for figures in found.values():
        assert figures["cpu_ms_per_task"] > 0
        assert figures["start_ms_p50"] > 0


def test_engine() -> None:
    found = run("engine")
    cases = found["cases"]
    assert set(cases) == {"demo", "4_frames", "8_frames", "decode", "second_caption"}
    for case in cases.values():
        for figures in case.values():
            if "equal" in (figures if isinstance(figures, dict) else ()):
                assert (figures["equal"], figures["compared"] > 0) == (1.0, True)
    assert cases["second_caption"]["equal"] == 1.0
    assert found["ratios"]["vllm"] is None
    assert "--vllm" in found["vllm"]["reason"]
    assert all(found["ratios"][name]["median"] > 0 for name in ("generate", "static"))


def test_enqueue() -> None:
    found = run("enqueue")
    assert (found["jamak"]["ids_missing"], found["jamak"]["ids_twice"]) == (0, 0)
    assert found["jamak"]["keys_per_s"] > 0
    assert found["jamak"]["redis_peak_mib"] < 32


def test_fairness() -> None:
    told = run("fairness")
    assert told["least_ratio"] > 0.8
    assert told["starved"] == []
    assert told["late_first_s"] < 5
    assert set(told["cost"]["take_us_by_tenants"]) == {"0", "10", "100"}


def test_frames() -> None:
    rows = run("frames")["cases"]
    assert {row["library"] for row in rows} == {"jamak", "pyav"}
    assert all(row["identical"] and row["cpu_s"] > 0 for row in rows)


def test_learning() -> None:
    """A fleet, a training and what the captioner says after it: a lesson of two steps."""
    found = run("learning")
    assert found["sft"]["new_before"] == {"mean": 0.0, "min": 0.0, "max": 0.0}
    assert found["sft"]["old_before"]["mean"] == 1.0
    assert {one["reached"] for one in found["goals"]} == {True, False}


def test_what_was_learned_is_judged_by_the_worst_seed() -> None:
    some = [
        {"old_before": 1.0, "old_after": after, "new_before": 0.0, "new_after": 0.95}
        for after in (1.0, 0.98)
    ]
    told = learning.gathered([learning.derived(one) for one in some])
    assert told["old_lost"] == {"mean": 0.01, "min": 0.0, "max": 0.02}
    goals = {one["goal"]: one["reached"] for one in judged({"sft": told}, learning.GOALS)}
    assert goals["forgotten while it learned them"] is False
    assert goals["purple and diagonal motion, after"] is True
    assert len(goals) == 3


def test_a_part_that_was_done_by_the_same_plan_is_not_done_again(tmp_path: Path) -> None:
    done = iter((1.0, 2.0))

    def teach(plan: Plan, seed: int) -> dict[str, float]:
        return {"exact": next(done)}

    first = learning.piece("sft", 1, QUICK, tmp_path, teach)
    assert learning.piece("sft", 1, QUICK, tmp_path, teach) == first
    other = replace(QUICK, draws=QUICK.draws + 1)
    assert learning.piece("sft", 1, other, tmp_path, teach)["exact"] == 2.0


def test_gpu(tmp_path: Path) -> None:
    """The same program as on a card, on tiny models."""
    found = run("gpu", "--into", str(tmp_path))
    assert json.loads((tmp_path / "results.json").read_text()) == found
    assert "no measurement of a GPU" in (tmp_path / "plot.svg").read_text()
    for name in ("vicuna-7b", "qwen3-8b"):
        assert [found["equality"][name][mode] for mode in ("fast", "same", "plain")] == [1.0] * 3
        (told,) = found["classes"][name].values()
        assert min(told[who]["captions_per_s"] for who in ("jamak", "generate", "static_2")) > 0
        assert told["share_of_roofline"] > 0
    assert found["graphs"][0]["fast_ms"] > 0
    assert found["prefill"]["mfu"] > 0
    assert found["swap"]["swap_ms_p50"] > 0
    assert found["nf4"]["t4"]["jamak"]["captions_per_s"] > 0
    assert min(found["train"][who]["steps_per_s"] for who in ("jamak", "plain_trl")) > 0


def test_on_a_card_what_does_not_fit_in_the_time_is_left_out_and_what_fails_is_told() -> None:
    clock = Clock(60)
    assert clock.run("a short one", 1, lambda: 5) == 5
    assert "about 90 s are needed" in clock.run("a long one", 90, lambda: 5)["skipped"]
    assert clock.failed == []
    assert clock.run("one that fails", 1, lambda: [][0])["failed"].startswith("IndexError")
    assert clock.failed == ["one that fails"]


def test_growth(tmp_path: Path) -> None:
    found = run("growth", "--into", str(tmp_path / "told.json"))
    assert json.loads((tmp_path / "told.json").read_text())["result"] == found
    few, more = found["measured"]
    assert (few["workers"], more["workers"]) == (2, 4)
    for one in (few, more):
        assert one["idle"]["scripts_per_s"] > 0
        assert one["busy"]["jobs_per_s"] > 0
        assert one["busy"]["feeder_cpu_ms_per_job"] > 0
    assert found["far"]["extrapolated"] is True


def test_ingest() -> None:
    found = run("ingest")
    assert found["records"] == found["videos"]
    assert found["dead_lettered"] == found["malformed"] > 0
    assert (found["duplicates_published"], found["left_in_sqs"]) == (0, 0)


def test_reload() -> None:
    found = run("reload")
    assert (found["lost"], found["mislabelled"], found["lie_found"]) == (0, 0, True)
    assert found["disagree"] >= 0.95
    assert found["refused"] == found["swaps"] > 0
    assert found["stall_steps_max"] <= 2


def test_loop(tmp_path: Path) -> None:
    """Two preferences ask for a training; a bad adapter is on trial in the fleet."""
    found = run("loop", "--into", str(tmp_path))
    for nothing in ("lost", "failed", "mislabelled", "downtime_s"):
        assert found[nothing] == 0
    assert (found["preferences"], found["runs"], found["published"]) == (2, 1, 0)
    assert found["captions_by"]["the base model"] > 0
    assert found["captions_by"]["the bad one"] > 0
    assert (found["rolled_back"], found["ended_by_themselves"]) == (False, {})


def test_a_pause_is_no_downtime_while_no_film_waits() -> None:
    def at(*seconds: float) -> tuple[datetime, datetime]:
        uploaded, made = (datetime.fromtimestamp(one, UTC) for one in seconds)
        return uploaded, made

    assert pauses_s([at(0, 5), at(1, 30), at(2, 31), at(100, 101)]) == [25, 1, 1]
    assert pauses_s([at(0, 5)]) == []
    # One that comes after others that came later was waiting all the time.
    assert pauses_s([at(0, 90), at(1, 5), at(80, 85)]) == [80, 5]


def test_rounds_of_the_loop_end_the_same_if_all_that_matters_is_equal() -> None:
    peace = dict.fromkeys(loop.SAME, 0) | {"hours": 0.2}
    told = loop.told({"peace": peace, "kills": peace | {"hours": 0.4}})
    assert (told["hours"], told["kills"]["hours"]) == (0.2, 0.4)
    assert told["kills"]["ends_the_same"] is True
    other = {"peace": peace, "kills": peace | {"version": "f" * 12}}
    assert loop.told(other)["kills"]["ends_the_same"] is False
    assert loop.told({"peace": peace}) == peace


def test_resume() -> None:
    found = run("resume")
    assert (found["kills"], found["bit_equal"], found["published"]) == (1, True, 1)
    assert found["steps_repeated_max"] <= 24
    assert "first_step_s_max" in found


def test_s3_dialect() -> None:
    (moto,) = run("s3_dialect")["stores"]
    assert (moto["name"], moto["verdict"]) == ("moto", "works")
    assert (moto["wrong"], moto["endless"]) == (0, 0)
    assert all(how.startswith("works: ") for how in moto["capabilities"].values())


def test_scale() -> None:
    sizes = run("scale")["sizes"]
    assert [one["keys"] for one in sizes] == [1200, 6000, 12_000]


def test_scenes() -> None:
    (ours,) = run("scenes")["cases"]
    assert (ours["recall"], ours["precision"]) == (1.0, 1.0)
    assert ours["cpu_s"] > 0


def test_sickness() -> None:
    (found,) = run("sickness")["cases"]
    for nothing in ("lost", "twice", "healthy_failed", "silent"):
        assert found[nothing] == 0
    assert found["recovered_s"] is not None


def test_source() -> None:
    rows = run("source")["cases"]
    assert {row["chosen"] for row in rows} == {"whole"}  # it is small
    assert all(row["bytes_share"] == 1.0 for row in rows)


def test_tracing() -> None:
    found = run("tracing")
    assert found["cpu_ratio"]["median"] > 0.5
    assert found["spans"]["a_caption"] <= 12
    assert 0 < found["spans"]["cpu_ms"] < found["cpu_ms_a_caption"]


def test_train_speed(tmp_path: Path) -> None:
    found = run("train_speed", "--into", str(tmp_path / "told.json"))
    assert json.loads((tmp_path / "told.json").read_text())["result"] == found
    assert found["step_ratio"]["median"] > 0
    assert found["rss_ratio"] > 0
    for stage in ("sft", "dpo"):
        assert set(found[stage]["each"]) == {"jamak", "trl"}
        # Files are read, and nothing is decoded: that is no matter of how fast a machine is.
        assert found[stage]["data_share"]["second_epoch"]["median"] < 0.05
        assert found[stage]["data_share"]["second_job"]["median"] < 0.5


def test_truth() -> None:
    found = run("truth")
    assert found["files"] >= 12
    assert len(found["kinds"]) >= 10
    assert [what for one in found["kinds"].values() for what in one["what"]] == []
    assert found["wrong"] == 0


def test_worker() -> None:
    (found,) = run("worker")["cases"].values()
    assert (found["equal"], found["compared"]) == (1.0, 2)
    assert found["speedup"]["median"] > 0
    assert 0 <= found["frame_wait_share"] <= 1
    assert 0 < found["rows_mean"] <= 8
    assert found["again"]["hit_share"] == 1.0
    for name in ("jamak", "one_at_a_time"):
        assert {"frames", "generate"} <= set(found["stages"][name])
        assert 0 < found["cpu_s"][name]["decoders"] < found["cpu_s"][name]["all"]


def test_decoders() -> None:
    found = run("decoders")
    assert all(row["videos_per_s"] > 0 for row in found["decoders"])
    assert len(found["decoders"]) == 3


def test_korean() -> None:
    found = run("korean")["tokenizers"]
    assert set(found) == {"llama", "qwen3"}
    for figures in found.values():
        assert figures["cuts"] > 500
        assert (figures["replacement_marks"], figures["not_a_beginning"]) == (0, 0)
        assert figures["syllables_lost_max"] <= 1
        assert figures["roundtrip"] == 1.0
        assert figures["syllables_per_256"] > 100


PIECES = ["▁", "▁이", "이", "영", "상", "▁영상"]
LLAMA = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]


def program(names: list[str]) -> str:
    """As the one of npm has them: names by their numbers, and a merge of two."""
    merge = struct.pack("<2H", names.index("▁"), names.index("이"))
    held = {"vocab_base64": "\n".join(names).encode(), "merges_binary": merge}
    return "\n".join(
        f'const llama_{name} = "{base64.b64encode(content).decode()}";'
        for name, content in held.items()
    )


def unpacked(names: list[str], place: Path) -> Path:
    for name, content in llama_files(lambda _: program(names).encode()).items():
        (place / name).write_bytes(content)
    return place


TINY = replace(PACKAGES["vicuna"], size=len(LLAMA), tokens={"</s>": 2, "▁": LLAMA.index("▁")})


def test_korean_is_read_by_the_vocabulary_and_the_merges_of_a_package(tmp_path: Path) -> None:
    tokenizer = read_as_model(TINY, unpacked(LLAMA, tmp_path))
    tokens = tokenizer.tokenize(" 이 영상은 이")
    assert tokens == ["▁이", "▁", "영", "상", "<0xEC>", "<0x9D>", "<0x80>", "▁이"]
    assert tokenizer("이").input_ids == [1, LLAMA.index("▁이")]
    assert text_of(tokenizer, tokenizer.convert_tokens_to_ids(tokens)) == "이 영상은 이"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([*LLAMA[:-6], "상", *PIECES], r"▁ is 260, not 259"),
        ([*LLAMA, "다"], r"266 tokens, and this model 265"),
    ],
)
def test_korean_is_measured_with_no_other_models_vocabulary(
    tmp_path: Path, names: list[str], told: str
) -> None:
    with pytest.raises(SystemExit, match=f"llama-tokenizer-js@1.2.2 .*{told}"):
        read_as_model(TINY, unpacked(list(dict.fromkeys(names)), tmp_path))


def test_parity() -> None:
    found = run("parity")
    assert all(row["share"] >= 0.8 for row in found["same"])


def test_mutants() -> None:
    found = run("mutants")
    assert found["counts"] == {"red": len(mutants.QUICK)}


# --- which there are, and how long they take -----------------------------------------------------


def test_every_program_is_listed_with_its_times() -> None:
    """What has a main and a parser is one; what it runs as a process of its own is none."""
    files = {path.stem: path for path in (ROOT / "benchmarks").glob("*.py")}
    files |= {path.parent.stem: path for path in (ROOT / "benchmarks").glob("*/__main__.py")}
    texts = {name: file.read_text() for name, file in files.items() if name != "programs"}
    assert {name for name, text in texts.items() if "parser_of(" in text} == set(PROGRAMS)
    for name, one in PROGRAMS.items():
        assert one.quick_s <= MOST_QUICK_S
        text = texts[name]
        assert f'parser_of("{name}"' in text
        assert "begin(parser)" in text
    assert [duration(seconds) for seconds in (8, 90, 600, 5400)] == [
        *("8 s", "90 s", "10 min", "1.5 h")
    ]


def main(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_they_are_listed_and_one_is_run_by_its_name() -> None:
    listed = main().stdout
    assert set(re.findall(r"^│ (\w+)", listed, re.MULTILINE)) == set(PROGRAMS)
    assert "-m benchmarks.source [-h]" in main("source", "--help").stdout
    wrong = main("sorcery")
    assert (wrong.returncode, "no benchmark 'sorcery'" in wrong.stderr) == (2, True)
    assert made("bench").endswith("-m benchmarks --quick")
    assert made("bench", "ARGS=source --json").endswith("-m benchmarks source --json")


def made(*asked: str) -> str:
    """What `make` would do; also where these tests themselves are run by `make test ARGS=…`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environ.pop("ARGS", None)
    command = ["make", "--dry-run", "--no-print-directory", *asked]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.rstrip()


def test_who_lacks_a_peer_is_told_what_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    need("json")
    with pytest.raises(SystemExit) as ended:
        need("json", "a_peer_of_ours")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "not installed: a_peer_of_ours" in said
    assert "make bench" in said


# --- mutations -----------------------------------------------------------------------------------


def test_there_are_many_mutations_and_each_fits_the_code_and_the_tests() -> None:
    tree = Tree(ROOT)
    found = read_mutations(mutants.FOLDER)
    assert len(found) >= 60
    assert len({one.guarantee for one in found}) == len(found)
    for one in found:
        before, after = tree.broken(one)
        assert before != after
        if one.file.endswith(".py"):
            ast.parse(after)  # what cannot be imported is found by any test
        assert [tree.place_of(test) for test in one.tests]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A code with one guarantee, and its tests."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "limits.py").write_text("MOST = 1\nALSO = 1\n")
    (tmp_path / "tests" / "test_code.py").write_text(
        "import time\nfrom limits import ALSO, MOST\n\n"
        "def test_most():\n    assert MOST == 1\n\n"
        "def test_nothing():\n    assert ALSO\n\n"
        "def test_patience():\n    time.sleep(0.02 + 60 * (MOST - 1))\n"
    )
    with closing(Tree(tmp_path)) as tree:
        yield tree


@pytest.mark.parametrize(
    ("code", "test", "colour", "why"),
    [
        ("MOST = 1", "test_most", "red", "tests/test_code.py:5: assert 2 == 1"),
        ("MOST = 1", "test_nothing", "green", ""),
        ("MOST = 1", "test_patience", "red", "it hangs"),
        ("= 1", "test_most", "stale", "2 times"),
        ("MOST = 3", "test_most", "stale", "0 times"),
        ("MOST = 1", "test_absent", "stale", "0 tests"),
        ("MOST = 1\n", "test_most", "stale", "cannot be run"),
    ],
)
def test_what_is_red_green_and_stale(
    tree: Tree, code: str, test: str, colour: str, why: str
) -> None:
    broken = "MOST = (" if code.endswith("\n") else code.replace("1", "2")
    whole = (tree.root / "limits.py").read_text()
    one = Mutation("x", "y", "limits.py", code, broken, (test,))
    verdict = mutants.judge(tree, one, 2.0 if why == "it hangs" else 600.0)
    assert verdict.colour == colour
    assert why in verdict.why
    assert (tree.root / "limits.py").read_text() == whole


def test_runs_share_the_libraries_and_nothing_of_the_tree(tree: Tree) -> None:
    broken = Mutation("x", "y", "limits.py", "MOST = 1", "MOST = 2", ())
    with closing(Tree(tree.root, imported=("fractions",))) as warm:
        failed, took = warm.unbroken(["test_most", "test_patience"])
        assert failed == []
        assert took["tests/test_code.py::test_patience"] >= 0.02
        with warm.mutated(broken):
            assert warm.unbroken(["test_most"])[0] == ["tests/test_code.py::test_most"]
        assert warm.run(["test_most"], 600.0)[0] == 0


def test_a_copy_has_no_part_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "limits.py").write_text("MOST = 1\n")
    with Tree.copied(tmp_path) as tree:
        one = Mutation("x", "y", "limits.py", "MOST = 1", "MOST = 2", ())
        with tree.mutated(one):
            assert (tmp_path / "limits.py").read_text() == "MOST = 1\n"
            assert (tree.root / "limits.py").read_text() == "MOST = 2\n"
        with pytest.raises(Stale), tree.mutated(Mutation("x", "y", "other.py", "a", "b", ())):
            pass
    assert not tree.root.exists()
