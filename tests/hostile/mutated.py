"""A mutator for endless more: bits, ranges, sizes of boxes. Knows nothing of what comes of it."""

import random
from collections.abc import Callable

from tests.hostile.contents import spliced
from tests.hostile.files import (
    numbers,
)


def mutated(source: bytes, seed: int) -> bytes:
    """The file with one to four changes, each of another kind or at another place."""
    dice = random.Random(seed)
    content = source
    for _ in range(dice.randint(1, 4)):
        content = dice.choice(MUTATIONS)(content, dice)
    return content


def flip(content: bytes, dice: random.Random) -> bytes:
    """Up to eight bits."""
    changed = bytearray(content)
    for _ in range(dice.randint(1, 8)):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _swap(content: bytes, dice: random.Random) -> bytes:
    """Two neighbouring ranges."""
    first, second, third = sorted(dice.randint(0, len(content)) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def _resize(content: bytes, dice: random.Random) -> bytes:
    """One box says that it is larger, smaller, or without an end."""
    boxes = [
        at
        for kind in (b"moov", b"trak", b"mdia", b"stbl", b"stsd", b"stts", b"stsz", b"stco")
        if (at := content.find(kind) - 4) >= 0
    ]
    if not boxes:
        return content
    size = dice.choice([0, 1, 7, 8, 2**31, 2**32 - 1, dice.randrange(2**16)])
    return spliced(content, dice.choice(boxes), numbers(size))


def _cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randint(0, len(content))]


def _repeat(content: bytes, dice: random.Random) -> bytes:
    """A range, up to 4 KiB long, once more."""
    start = dice.randint(0, len(content))
    end = start + dice.randint(0, 4096)
    return content[:end] + content[start:end] + content[end:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [flip, _swap, _resize, _cut, _repeat]
