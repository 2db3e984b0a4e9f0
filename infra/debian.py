"""Programs of tests that no registry of Python has, from Debian: `python -m infra.debian`.

They go into the environment of the Python that runs this, so nobody has to be root. What is on PATH
already is left alone. Where there is no apt this says so and ends well: the tests that need such a
program then skip, but in CI they fail.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.install import Teller

PROGRAMS = {"prometheus": ("prometheus", "promtool")}
"""Package -> what is wanted of it. Each is one file that needs nothing but the C library."""
BIN = Path(sys.prefix, "bin")
SHOWN = 400
"""Characters of what a program said before it failed."""


def find_program(name: str) -> str | None:
    """The one on PATH, else the one in this environment."""
    return shutil.which(name) or shutil.which(name, path=str(BIN))


def fetch(package: str, programs: tuple[str, ...], into: Path) -> None:
    """Without a trace in the system: apt's lists, too, are in a folder that goes away.

    Raises:
        subprocess.CalledProcessError: apt does not reach its servers, or has no such package.
    """
    with tempfile.TemporaryDirectory(prefix="jamak-debian-") as folder:
        Path(folder).chmod(0o755)  # apt fetches as a user of its own when root asks
        places = {"State::lists": "lists", "Cache": "cache"}
        for place in ("lists/partial", "cache/archives/partial"):
            Path(folder, place).mkdir(parents=True)
        options = [f"-oDir::{name}={folder}/{place}" for name, place in places.items()]
        apt = ["apt-get", *options, "--quiet=2"]
        for command in (
            [*apt, "update"],
            [*apt, "download", package],
            ["sh", "-c", "exec dpkg-deb -x ./*.deb files"],
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        for program in programs:
            shutil.move(Path(folder, "files/usr/bin", program), into / program)


def main() -> int:
    """0: there is nothing left to try."""
    code = 0
    with Teller() as teller:
        for package, programs in PROGRAMS.items():
            names = " and ".join(programs)
            if all(map(find_program, programs)):
                continue
            if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
                teller.say(f"no {names} on PATH, and no apt here: their tests are skipped")
                continue
            teller.doing(f"fetching {names}, which the tests of alerts need")
            try:
                fetch(package, programs, BIN)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error).encode(errors="replace")
                told = said.decode(errors="replace").strip()[-SHOWN:]
                teller.say(f"no {names}, so their tests are skipped: {told}")
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
