"""Small real tokenizers for tests, of the kinds that the model families have."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

DEMO = Path(__file__).parents[1] / "infra/demo/models"
SPECIAL, MEDIA = ["<pad>", "<s>", "</s>"], ["<video>", "<image>"]


def character_tokenizer(media: Sequence[str] = MEDIA) -> PreTrainedTokenizerFast:
    """Bytes as tokens, and the model family's special tokens."""
    alphabet, special = sorted(pre_tokenizers.ByteLevel.alphabet()), [*SPECIAL, *media]
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(media),
    )


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama's: pieces of text, and single bytes for all that is in none."""
    pieces = ["▁", "▁영", "상", "가", "漢", "かな", "Привет", "a", "▁the", "A中", "。", "é"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    model = models.BPE(
        vocab={name: number for number, name in enumerate(names)},
        merges=[],
        unk_token="<unk>",
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "llama": lambda: AutoTokenizer.from_pretrained(DEMO / "llama"),
    "qwen3": lambda: AutoTokenizer.from_pretrained(DEMO / "qwen3"),
    "bytes": character_tokenizer,
    "byte fallback": byte_fallback_tokenizer,
}


def single_bytes(tokenizer: Any) -> dict[int, int]:
    """The token of each byte: any text can be spelled in them."""
    names = tokenizer.get_vocab()
    if "<0x00>" in names:
        return {byte: names[f"<0x{byte:02X}>"] for byte in range(256)}
    table = {}
    for name, number in names.items():
        if len(name) == 1 and number not in tokenizer.added_tokens_decoder:
            table[_byte_of(name)] = number
    return table


def _byte_of(name: str) -> int:
    """The byte that byte-level tokenizers write so: in order, after those that can be shown."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [one for one in range(256) if one not in shown]
    return ord(name) if ord(name) < 256 else hidden[ord(name) - 256]


def piece_tokenizer() -> Tokenizer:
    """As Llama's, saved when it was `legacy`: pieces of text with a mark for a space, one of them
    put before every part between special tokens, and single bytes for all that is in no piece."""
    pieces = ["▁", "▁▁", "▁US", "ER", ":", "▁ASS", "IST", "ANT", "이", "영", "상", "화", "면"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted({*"".join(pieces)} - {*pieces})
    vocabulary = {name: number for number, name in enumerate([*names, *letters, *pieces])}
    merges = [
        *[("▁", "▁"), ("▁", "U"), ("▁U", "S"), ("E", "R")],
        *[("▁", "A"), ("▁A", "S"), ("▁AS", "S"), ("I", "S"), ("IS", "T"), ("A", "N"), ("AN", "T")],
    ]
    for pair in merges:
        vocabulary.setdefault("".join(pair), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            *(decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "<video>", "<image>"])
    return tokenizer
