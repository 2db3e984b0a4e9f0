"""A small real tokenizer for tests: bytes as tokens, and the model family's special tokens."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<video>", "<image>"]


def character_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<video>", "<image>"],
    )


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
