"""How the system schedules this process."""

import os
import sys


def take_turns_again() -> None:
    """After SVT-AV1 was used. As root it leaves the thread with real-time priority, which is
    inherited, and everything else on the machine stands still
    (findings/av1-takes-the-whole-machine.sh).
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
