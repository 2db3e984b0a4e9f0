#!/usr/bin/env bash
# transformers meets tokenizers, in Korean: a Llama tokenizer, saved and loaded, reads prompts otherwise.
#
# One would guess: what `save_pretrained` wrote, `from_pretrained` reads back: a fine-tuned model is
#                  served with the tokens that it was trained with.
# What happens:    the words after a special token, here those after <video>, become other tokens:
#                  a space in front of them is gone. No error and no warning, and a text without special
#                  tokens is read as before, so that most tests notice nothing.
# Why:             transformers 5 builds the pieces of a LlamaTokenizer itself, by `legacy`, whatever
#                  tokenizer.json says of them; and saving leaves `legacy` out of tokenizer_config.json.
# Needs:           Python 3.10 or newer with venv. Half a minute. No model: a tiny tokenizer is trained here.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6

cat > "$work/run.py" <<'PY'
import json
import sys
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import AutoTokenizer

print("transformers", transformers.__version__, "| tokenizers", tokenizers.__version__)
print()
work = Path(sys.argv[1])
original, saved = work / "original", work / "saved"
original.mkdir()

# Built as Llama's is: byte-pair encoding with bytes to fall back on, "▁" for spaces and in front.
built = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
built.normalizer = normalizers.Sequence(
    [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
)
built.decoder = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
built_in = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "<video>"]
built.train_from_iterator(
    ["이 영상을 한국어로 묘사해 주세요.", "고양이가 창가에서 잡니다.", "USER: ASSISTANT: 이 영상에 개가 나옵니다."] * 20,
    trainers.BpeTrainer(vocab_size=350, special_tokens=built_in, show_progress=False),
)
built.save(str(original / "tokenizer.json"))
(original / "tokenizer_config.json").write_text(
    json.dumps(
        {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": True,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        }
    )
)

loaded = AutoTokenizer.from_pretrained(original)
loaded.save_pretrained(saved)
again = AutoTokenizer.from_pretrained(saved)


def pieces(reader, text: str) -> list[str]:
    return reader.convert_ids_to_tokens(reader(text, add_special_tokens=False)["input_ids"])


def row(name: str, tokens: list[str]) -> None:
    print(f"    {name:<28} {len(tokens):>2}: {' '.join(tokens)}")


prompt = "USER: <video>이 영상을 한국어로 묘사해 주세요. ASSISTANT:"
plain = "이 영상을 한국어로 묘사해 주세요."
for text in (prompt, plain):
    print(text)
    row("tokenizer.json alone", built.encode(text, add_special_tokens=False).tokens)
    row("loaded by transformers", pieces(loaded, text))
    row("saved, and loaded again", pieces(again, text))
    print()
configs = [json.loads((folder / "tokenizer_config.json").read_text()) for folder in (original, saved)]
print("legacy in tokenizer_config.json:", *(config.get("legacy", "not there") for config in configs), sep=" | ")
print("legacy of the object:", loaded.legacy, again.legacy, sep=" | ")
print()

changed = False
for what, holds in [
    ("loading alone keeps the prompt", pieces(loaded, prompt) == built.encode(prompt, add_special_tokens=False).tokens),
    ("saving and loading changes the prompt", pieces(loaded, prompt) != pieces(again, prompt)),
    ("what comes after <video> lost its space", pieces(again, prompt)[pieces(again, prompt).index("<video>") + 1][0] != "▁"),
    ("a text without special tokens stays", pieces(loaded, plain) == pieces(again, plain)),
    ("saving leaves legacy out", "legacy" in configs[0] and "legacy" not in configs[1]),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$work/venv/bin/python" "$work/run.py" "$work"
