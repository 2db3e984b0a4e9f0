"""Files here or in S3, whichever an address says. Knows nothing of what is in them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import Missing, TooLarge, UsageError


def in_s3(address: str) -> bool:
    return address.startswith("s3://")


@dataclass(frozen=True)
class Listed:
    name: str
    """Under what was listed, with slashes; of one file its own name."""
    address: str
    size_bytes: int
    read: Callable[[], bytes]


def listed(address: str, store: ObjectStore, argument: str = "") -> Iterator[Listed]:
    """A file, or all that is under a folder; in S3 a folder's address ends with a slash.

    Raises:
        UsageError: there is nothing.
    """
    if in_s3(address):
        yield from _objects(*parse_uri(address, argument), store, argument)
        return
    top = Path(address)
    if top.is_file():
        yield _file(top, top.name)
    elif top.is_dir():
        for path in sorted(path for path in top.rglob("*") if path.is_file()):
            yield _file(path, path.relative_to(top).as_posix())
    else:
        raise UsageError(
            f"{address}: there is no such file or folder", cure="Check it.", argument=argument
        )


def _file(path: Path, name: str) -> Listed:
    return Listed(name, str(path), path.stat().st_size, path.read_bytes)


def _objects(bucket: str, key: str, store: ObjectStore, argument: str) -> Iterator[Listed]:
    def reading(key: str, most: int) -> Callable[[], bytes]:
        return lambda: store.get(bucket, key, most)

    if key and not key.endswith("/"):
        try:
            info = store.head(bucket, key)
        except Missing as error:
            raise UsageError(
                str(error), cure="Check it; a folder ends with a slash.", argument=argument
            ) from error
        name = key.rpartition("/")[2]
        yield Listed(name, f"s3://{bucket}/{key}", info.size_bytes, reading(key, info.size_bytes))
        return
    for info in store.list(bucket, key):
        if not info.key.endswith("/"):
            name, uri = info.key.removeprefix(key), f"s3://{bucket}/{info.key}"
            yield Listed(name, uri, info.size_bytes, reading(info.key, info.size_bytes))


def content(address: str, store: ObjectStore, most: int, argument: str = "") -> bytes:
    """Of one file.

    Raises:
        UsageError: it is not there.
        TooLarge: it has more bytes.
    """
    if in_s3(address):
        try:
            return store.get(*parse_uri(address, argument), most)
        except Missing as error:
            raise UsageError(str(error), cure="Check the address.", argument=argument) from error
    path = Path(address)
    if not path.is_file():
        raise UsageError(f"{address}: there is no such file", cure="Check it.", argument=argument)
    if path.stat().st_size > most:
        raise TooLarge(f"{address} has {path.stat().st_size} bytes; it may have {most}")
    return path.read_bytes()


def check_new(address: str, store: ObjectStore, argument: str) -> None:
    """Before any work is done for it.

    Raises:
        UsageError: it is there already, or is no place for a file.
    """
    if in_s3(address):
        bucket, key = parse_uri(address, argument)
        nameless, there = not key or key.endswith("/"), bool(key) and store.exists(bucket, key)
    else:
        path = Path(address)
        nameless, there = path.is_dir(), path.exists()
        if not path.parent.is_dir():
            raise UsageError(
                f"{path.parent} is no folder", cure="Create it first.", argument=argument
            )
    if nameless:
        raise UsageError(
            f"{address} is no file",
            cure="Name one: s3://bucket/folder/file.jsonl.",
            argument=argument,
        )
    if there:
        raise UsageError(
            f"{address} is there already", cure="Name another, or delete it.", argument=argument
        )


def write(address: str, body: bytes, store: ObjectStore) -> None:
    """All of it, or nothing."""
    if in_s3(address):
        store.put(*parse_uri(address), body)
        return
    path = Path(address)
    part = path.with_name(f".{path.name}")
    part.write_bytes(body)
    part.rename(path)
