"""A process whose clock is wrong by BENCH_CLOCK_S seconds, from its first import on."""

import os
import time

_time, _skew_s = time.time, float(os.environ.get("BENCH_CLOCK_S", "0"))
time.time = lambda: _time() + _skew_s
