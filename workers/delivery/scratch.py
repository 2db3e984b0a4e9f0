"""A worker's own folder for what it downloads: nobody else's, and gone when its owner is.

The owner holds a lock on a file in it, which the kernel takes from it however it ends; whoever
starts next beside it removes what has no owner any more. Knows nothing of what lies in it.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from shared import telemetry
from shared.errors import ConfigError, OutOfResources

PREFIX = "jamak-"
OWNER = "owner"
"""Whoever has the lock of it lives. A folder without it is none of ours, or of an older Jamak."""
PROBE_BYTES = 1 << 20
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""What does not pass by itself, at a start."""

log = telemetry.get_logger("jamak.scratch")


class Scratch:
    """Args:
        parent: None = the system's folder for temporary files.

    Raises:
        ConfigError: no folder can be made there.
        OutOfResources: not now; the disk is full, for example.
    """

    def __init__(self, parent: Path | None) -> None:
        try:
            parent = parent or Path(tempfile.gettempdir())
            parent.mkdir(parents=True, exist_ok=True)
            sweep(parent)
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            self._owner = _own(self.folder)
            self.prove()
        except OSError as error:
            if error.errno in NOT_OURS:
                raise ConfigError(
                    f"there is no folder for temporary files: {error}",
                    cure="Name one in JAMAK_SCRATCH_DIR that this user may write to.",
                ) from error
            raise OutOfResources(f"there is no room for temporary files: {error}") from error

    def prove(self) -> None:
        """It is there and takes what is written; if it was removed, it is made again.

        Raises:
            OSError: it does not, or it was removed: then this is said once.
        """
        if not (self.folder / OWNER).exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            before, self._owner = self._owner, _own(self.folder)
            os.close(before)
            # Not for nothing: what failed did so because it was not there.
            raise FileNotFoundError(errno.ENOENT, "removed, and made again", str(self.folder))
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())  # where the disk is a network's, it says so here
            file.seek(0)
            if len(file.read()) != PROBE_BYTES:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(self.folder))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what dead workers left there."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or somebody else is at it
            owner = os.open(folder / OWNER, os.O_RDWR)
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                log.info("removed what a dead worker left", folder=str(folder))
            finally:
                os.close(owner)


def _own(folder: Path) -> int:
    """The file that holds the lock; it has its name only once it is locked."""
    owner, name = tempfile.mkstemp(dir=folder)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        Path(name).rename(folder / OWNER)
    except BaseException:
        os.close(owner)
        raise
    return owner
