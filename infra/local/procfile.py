"""The Procfile: one process type a line, `name: command`."""

from pathlib import Path

from shared.errors import ConfigError

ROOT = Path(__file__).parents[2]
"""Of the checkout. The Procfile's commands are run here."""


def read_procfile(path: Path = ROOT / "Procfile") -> dict[str, str]:
    """Name -> shell command, in the order of the file.

    Raises:
        ConfigError: there is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", cure="Run the local stack from a checkout of the repository."
        ) from error
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    pairs = (line.split(":", 1) for line in lines)
    return {name.strip(): command.strip() for name, command in pairs}
