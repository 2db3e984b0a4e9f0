#!/usr/bin/env bash
# peft, and bitsandbytes beside it: one import that loads a compiler.
#
# One would guess: `import peft` costs what peft itself is; bitsandbytes matters once a model is
#                  quantised, and TorchInductor once somebody compiles something.
# What happens:    where bitsandbytes is installed, `import peft` has loaded torch._inductor.compile_fx
#                  when it returns, and that is most of what the import costs: one to three seconds of
#                  CPU in every process, on top of torch and transformers. Without bitsandbytes: not loaded,
#                  and a fraction of the time.
# Why:             peft imports bitsandbytes to see whether it is there; that decorates its CPU fallbacks
#                  with `torch.compile` in the body of a module, and `torch.compile` reads the compiler's
#                  configuration at once.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux, five gigabytes of disk (torch from PyPI).
#                  Some minutes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 peft==0.21.2 numpy==2.3.5

cat > "$work/look.py" <<'PY'
import sys
import time

import torch
import transformers.modeling_utils  # so that what peft needs of both is paid for already

assert "torch._inductor.compile_fx" not in sys.modules
began = time.process_time()
import peft

spent = time.process_time() - began
found = {name: name in sys.modules for name in ("bitsandbytes", "torch._inductor.compile_fx")}
wanted = sys.argv[1] == "beside"
print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
print(f"import peft: {spent:.2f} s of CPU; loaded: {found}")
told = {"beside": "bitsandbytes installed, and TorchInductor is loaded", "alone": "no bitsandbytes, no compiler"}
same = set(found.values()) == {wanted}
print(f"{'as before' if same else 'CHANGED'}: {told[sys.argv[1]]}")
sys.exit(not same)
PY

export HF_HUB_OFFLINE=1
"$work/venv/bin/python" "$work/look.py" alone
"$work/venv/bin/pip" install --quiet --disable-pip-version-check bitsandbytes==0.50.2
"$work/venv/bin/python" "$work/look.py" beside
