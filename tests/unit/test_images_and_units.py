"""What starts Jamak where there is no Kubernetes, and the images of where there is: all of them
start the lines of the Procfile, and say so in the form that their tools take."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.local.procfile import ROOT, read_procfile
from shared.settings import Settings
from tests.manifests import tool
from workers.delivery.drain import GOODBYE_S, LONGEST_FINISH_S

IMAGES = sorted((ROOT / "infra/images").glob("*.Containerfile"))
UNITS = sorted((ROOT / "infra/systemd").glob("*.service"))
SLURM = sorted((ROOT / "infra/slurm").glob("*.sbatch"))
SKY = ROOT / "infra/skypilot/captioner.yaml"


def started_by(script: list[str], folder: Path) -> tuple[list[str], str]:
    """The command that it starts, and a variable that this gets: in a checkout whose commands say
    so, and do nothing."""
    commands = folder / ".venv/bin"
    commands.mkdir(parents=True, exist_ok=True)
    (folder / "Procfile").write_text((ROOT / "Procfile").read_text())
    for name in ("celery", "jamak"):
        command = commands / name
        command.write_text('#!/bin/sh\necho "$(basename "$0") $*"; echo "$JAMAK_TRAIN_ONCE_S"\n')
        command.chmod(0o755)
    environment = {"PATH": f"{commands}:{os.defpath}"}
    done = subprocess.run(
        script, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    said, once_s = done.stdout.splitlines()
    return shlex.split(said), once_s


def line(name: str) -> list[str]:
    return shlex.split(read_procfile()[name].removeprefix("exec "))


# Images


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_an_image_is_written_as_it_should_be(path: Path) -> None:
    done = subprocess.run([tool("hadolint"), path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_of_images_finds_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "Containerfile"
    bad.write_text("FROM python:latest\nRUN cd /tmp\n")
    done = subprocess.run([tool("hadolint"), bad], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "DL3007" in done.stdout


@pytest.mark.parametrize("path", IMAGES[:2], ids=lambda path: path.stem)
def test_an_image_is_pinned_small_and_nobody_s(path: Path) -> None:
    steps = re.sub(r"\\\n\s*", "", path.read_text()).splitlines()
    (python,) = (step.partition("=")[2] for step in steps if step.startswith("ARG PYTHON="))
    assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", python)
    bases = [step.split()[1] for step in steps if step.startswith("FROM ")]
    assert bases == ["python:${PYTHON}"] * 2  # one builds, one is shipped
    # The folder of libraries is named after the version.
    assert f"/lib/python{'.'.join(python.split('.')[:2])}/" in path.read_text()
    installs = [step for step in steps if "pip install" in step]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in step or "--no-deps" in step for step in installs)
    (user,) = (step.split()[1] for step in steps if step.startswith("USER "))
    assert user == "10001:10001"
    shipped = steps[steps.index("FROM python:${PYTHON}") + 1 :]
    assert not any("RUN" in step.split()[:1] for step in shipped)


def test_what_an_image_copies_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        name
        for path in IMAGES[:2]
        for step in path.read_text().splitlines()
        if step.startswith("COPY ") and "--from" not in step
        for name in step.split()[1:-1]
    }
    assert ignored[0] == "*"
    assert {f"!{name}" for name in copied} == {one for one in ignored if one.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


# Without Kubernetes


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd here, and no Python package has it")
    named = tmp_path / unit.name.replace("@", "@0")
    named.write_text(unit.read_text())
    verify = [program, "verify", "--man=no"]
    done = subprocess.run([*verify, named], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")  # it only warns of a misspelt key
    named.write_text(unit.read_text().replace("KillMode", "KillMood"))
    done = subprocess.run([*verify, named], capture_output=True, text=True, check=False)
    assert "KillMood" in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_leaves_time_for_the_drain(unit: Path) -> None:
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
    drain_s = Settings.model_fields["drain_s"].default
    assert drain_s + LONGEST_FINISH_S + GOODBYE_S + 10 <= int(stop_s)


def test_systemd_starts_every_line_of_the_procfile(tmp_path: Path) -> None:
    for name in read_procfile():
        kind = "jamak-captioner@" if name == "captioner" else "jamak@"
        text = (ROOT / f"infra/systemd/{kind}.service").read_text()
        (written,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        script = shlex.split(written.replace("%i", name).replace("$$", "$"))
        assert started_by(script, tmp_path)[0] == line(name)


def test_slurm_starts_captioners_and_trainers_for_one_training(tmp_path: Path) -> None:
    for path in SLURM:
        name = path.stem.removesuffix("s")
        command, once_s = started_by(["/bin/sh", str(path)], tmp_path)
        assert command == line(name)
        assert bool(once_s) == (name == "trainer")
        text = path.read_text()
        assert re.search(r"^#SBATCH --gres=gpu:1$", text, re.MULTILINE)
        (before_s,) = re.findall(r"--signal=B:TERM@(\d+)$", text, re.MULTILINE)
        drain_s = Settings.model_fields["drain_s"].default
        assert drain_s + LONGEST_FINISH_S + GOODBYE_S + 10 <= int(before_s)


def test_skypilot_starts_a_captioner(tmp_path: Path) -> None:
    task = yaml.safe_load(SKY.read_text())
    script = ["/bin/sh", "-c", task["run"]]
    assert started_by(script, tmp_path)[0] == line("captioner")
    known = {f"JAMAK_{name.upper()}" for name in Settings.model_fields}
    assert task["envs"].keys() | task["secrets"].keys() <= known
    # By reference: it comes from the environment of whoever starts it.
    assert task["secrets"] == {"JAMAK_REDIS_URL": None}
    assert float(task["envs"]["JAMAK_DRAIN_S"]) + LONGEST_FINISH_S + GOODBYE_S <= 30
    assert os.access(ROOT / "infra/install.py", os.R_OK) and "infra/install.py" in task["setup"]
