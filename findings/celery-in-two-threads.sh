#!/usr/bin/env bash
# Celery, imported for the first time by two threads at once: one of them finds it empty.
#
# One would guess: Python's import lock lets one thread in, and the other one waits for it: whoever
#                  imports a package lazily, in the function that needs it, may do so in any thread.
# What happens:    in 41 of 60 new processes `from celery import Celery` raises, in one of the two threads,
#                  "cannot import name 'Celery' from 'celery'"; in 50 of 60 `from kombu import Queue` does (how
#                  many there are depends on the machine). After that, in the same thread, the same line works.
# Why:             both put a module of their own in place of the one that is being imported, while it is. Python
#                  has no lock for that one: who looks it up in between is given it as it is.
# Needs:           Python 3.11 or newer with venv. A minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0

cat > "$work/two.py" <<'PY'
import sys
import threading

sys.setswitchinterval(1e-4)  # both are asked in turn more often than by default; it happens with that, too
begin, failed, later = threading.Barrier(2), [], []


def run():
    begin.wait()
    try:
        exec(sys.argv[1])
    except ImportError as error:
        failed.append(str(error).partition(" (")[0])
        exec(sys.argv[1])
        later.append("works")


threads = [threading.Thread(target=run) for _ in range(2)]
[one.start() for one in threads]
[one.join() for one in threads]
print(*failed, *later, sep="; ")
PY

"$work/venv/bin/pip" list --disable-pip-version-check 2>/dev/null | grep -E "^(celery|kombu) "
changed=0
for line in "from celery import Celery" "from kombu import Queue"; do
    for _ in $(seq 60); do "$work/venv/bin/python" "$work/two.py" "$line"; done > "$work/said"
    count=$(grep -c "cannot import name" "$work/said" || true)
    grep "cannot import name" "$work/said" | sort | uniq -c || true
    if ((count)); then
        echo "as before: \`$line\` fails in one of two threads, in $count of 60 processes"
    else
        echo "CHANGED: \`$line\` fails in none of 60 processes"
        changed=1
    fi
done
exit "$changed"
