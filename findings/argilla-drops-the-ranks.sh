#!/usr/bin/env bash
# Argilla's rankings meet Argilla's client: who ranked the second field first has ranked the first one first.
#
# One would guess: a ranking that the client reads is a list of fields with the best first; so the first of the list is
#                  chosen and the last one rejected.
# What happens:    the list has the fields in the order in which the server keeps them, whatever their ranks: of
#                  [text1: rank 2, text2: rank 1], of [text1: rank 1, text2: rank 2] and of a tie the client makes
#                  ['text1', 'text2'], and so does every export that it writes. Nothing is said of it.
# Why:             it takes the values of what the server sends and drops the ranks beside them; it does not sort.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. A minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
# It imports `requests` without asking for it.
"$work/venv/bin/pip" install --quiet --disable-pip-version-check argilla==2.8.0 datasets==5.2.0 \
    huggingface_hub==2.4.0 requests==2.34.2

cat > "$work/run.py" <<'PY'
import sys
import warnings
from types import SimpleNamespace
from uuid import UUID

warnings.simplefilter("ignore")

import argilla as rg
from argilla._models import UserResponseModel
from argilla.responses import UserResponse

FIELDS = {"text1": "빨간 공이 굴러갑니다.", "text2": "파란 공이 굴러갑니다."}
RANKS = {"text1 is better": (1, 2), "text2 is better": (2, 1), "neither is": (1, 1)}
QUESTION = object.__new__(rg.RankingQuestion)  # one that is made asks a server for its dataset
# What an answer needs to know of its dataset.
DATASET = SimpleNamespace(name="d", settings=SimpleNamespace(questions={"better": QUESTION}))


def read(ranks: tuple[int, int]) -> rg.Record:
    """A record as the client makes it of a server's answer."""
    value = [{"value": name, "rank": rank} for name, rank in zip(FIELDS, ranks)]
    sent = UserResponseModel(
        values={"better": {"value": value}}, status="submitted", user_id=UUID(int=7)
    )
    answer = UserResponse.from_model(sent, SimpleNamespace(dataset=DATASET))
    return rg.Record(id="7", fields=FIELDS, responses=list(answer.responses))


print("Argilla", rg.__version__)
found, written = {}, {}
for said, ranks in RANKS.items():
    record = read(ranks)
    (answer,) = record.responses
    found[said], written[said] = answer.value, record.to_dict()["responses"]["better"][0]["value"]
    print(f"    {said:16} ranks {ranks}  read {answer.value}  written {written[said]}")
print()
changed = False
for what, holds in [
    ("who ranked text1 first has it first", found["text1 is better"] == ["text1", "text2"]),
    ("who ranked text2 first has text1 first", found["text2 is better"] == ["text1", "text2"]),
    ("so has who ranked them alike", found["neither is"] == ["text1", "text2"]),
    ("what is written says the same", written == found),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py"
