"""What a page of the docs tells its reader to type, to be typed by a test."""

import re
from pathlib import Path


def block_of(page: Path, heading: str, language: str) -> str:
    """The one block of code in this language under a heading of the second level."""
    section = page.read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(block)


def commands_of(page: Path, heading: str) -> list[str]:
    """The commands of the one console block under a heading."""
    joined = block_of(page, heading, "console").replace("\\\n", "")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]
