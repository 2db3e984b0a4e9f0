"""The decoder processes that this one has, wherever in the tree of processes they stand."""

from contextlib import suppress

import psutil


def standing_by() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "workers.video.standby" in process.cmdline():
                found.append(process)
    return found


def decoder_processes() -> list[psutil.Process]:
    """Their copies, one for each video that is open."""
    found = []
    for process in standing_by():
        with suppress(psutil.NoSuchProcess):
            found += process.children()
    return found
