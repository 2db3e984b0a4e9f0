#!/usr/bin/env bash
# Argilla's records meet JSON: who reads them back cannot tell an answer from one that was thrown away.
#
# One would guess: what `to_json` writes and `from_json` reads are the same records: an answer that somebody has
#                  submitted is one, and what another one discarded, or only began, is none.
# What happens:    an answer is written without its status. In the file a discarded one looks as a submitted one does,
#                  to the byte; read back, each has no status, and sent to a server it is a draft, whatever it was.
#                  Nothing is said of it.
# Why:             `Record.to_dict`, which all of its exports stand on, writes `value` and `user_id` of an answer.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. A minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
# It imports `requests` without asking for it.
"$work/venv/bin/pip" install --quiet --disable-pip-version-check argilla==2.8.0 datasets==5.2.0 \
    huggingface_hub==2.4.0 requests==2.34.2

cat > "$work/run.py" <<'PY'
import json
import sys
import warnings
from pathlib import Path
from uuid import UUID

warnings.simplefilter("ignore")

import argilla as rg
from argilla.records._io import JsonIO
from argilla.responses import UserResponse

WHO = UUID(int=7)


def record(status: str) -> rg.Record:
    answer = rg.Response("correction", "빨간 공이 굴러갑니다.", user_id=WHO, status=status)
    return rg.Record(id="7", fields={"caption": "파란 공이 굴러갑니다."}, responses=[answer])


print("Argilla", rg.__version__)
files, back = {}, {}
for status in ("submitted", "draft", "discarded"):
    made, path = record(status), Path(sys.argv[1]) / f"{status}.json"
    JsonIO.to_json([made], path)
    files[status] = path.read_bytes()
    (read,) = JsonIO._records_from_json(path)
    back[status] = [one.status for one in read.responses], UserResponse(list(read.responses)).status.value
    (before,) = made.responses
    written = json.loads(files[status])[0]["responses"]
    print(f"    {before.status.value:9}  written {json.dumps(written, ensure_ascii=False)}  read {back[status]}")
print()
changed = False
for what, holds in [
    ("the three files are the same to the byte", len(set(files.values())) == 1),
    ("the answer itself is in it", "빨간 공".encode("unicode_escape") in files["discarded"]),
    ("read back, none has a status", all(one[0] == [None] for one in back.values())),
    ("sent to a server, each is a draft", {one[1] for one in back.values()} == {"draft"}),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py" "$work"
