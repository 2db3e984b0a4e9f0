"""What we rely on in a store, tried out: a few small requests, before anything depends on it.

Stores that speak S3's API differ where nobody looks, and most differences are silent. Each proof
tries one thing on objects of its own under `probes/`. What the store wants in another way is noted
in its dialect; what it cannot do in any way is refused, by name.

Knows nothing of captions, nor of who asks. The first time it takes seventeen requests, later
nine; who only swaps needs four of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shared.bucket.dialect import WholeAnswer
from shared.bucket.keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES
from shared.errors import (
    ConfigError,
    Conflict,
    Forbidden,
    Missing,
    Overwritten,
    StoreRefuses,
    StoreUnavailable,
)
from shared.settings import Output

if TYPE_CHECKING:
    from shared.bucket.storage import ObjectStore

Verdict = Literal["works", "otherwise", "refused"]
Proof = Callable[["ObjectStore", Output], "list[Capability]"]

BODY, STALE = b"jamak", "0" * 32
"""What a probe holds, and an ETag that nothing has."""
RACES = 3
"""Others who start now write the same probe; where that changes its ETag, they disturb."""
CURE = "Use a store that can: docs/stores.md names some."
ORDER = ("A", "a +%2B", "a-b", "a/b", "\uff5e", "\U0001f600")
"""In the order of UTF-8 bytes, and in no other: not folder by folder, not by UTF-16, not by letters
alone."""


@dataclass(frozen=True)
class Capability:
    name: str
    verdict: Verdict
    how: str
    cure: str = ""


def demand(output: Output, found: Iterable[Capability]) -> None:
    """Raises ConfigError: one of them is refused."""
    for one in found:
        if one.verdict == "refused":
            raise ConfigError(f"{_place(output)}: {one.how}", cure=one.cure)


def conditions(store: "ObjectStore", output: Output) -> list[Capability]:
    """`If-None-Match` and `If-Match` at a PUT: "nothing twice" and each swap rest on them.

    Raises:
        ConfigError: nothing can be written there.
    """
    try:
        return [_once(store, output), _swap(store, output)]
    except (Missing, Forbidden) as error:
        raise ConfigError(
            f"the output {_place(output)} cannot be written: {error}",
            cure="Grant s3:PutObject, or change JAMAK_OUTPUT.",
        ) from error


def _once(store: "ObjectStore", output: Output) -> Capability:
    for _ in range(2):
        try:
            store.put_raw(output.bucket, _probe(output), BODY, IfNoneMatch="*")
        except Conflict:
            return Capability("If-None-Match", "works", "a second write is refused")
    return Capability(
        "If-None-Match",
        "refused",
        "the store ignores If-None-Match: captions could be written twice",
        cure=_cure_of_versions(store, output),
    )


def _swap(store: "ObjectStore", output: Output) -> Capability:
    name = "If-Match"
    for _ in range(RACES):
        etag = _etag(store, output)
        for quoted in (True, False):
            form = '"{}"' if quoted else "{}"
            if _takes(store, output, form.format(STALE)):
                return Capability(
                    name,
                    "refused",
                    "the store ignores If-Match: of two changes at once one would be lost",
                    cure=_cure_of_versions(store, output),
                )
            if _takes(store, output, form.format(etag)):
                store.dialect.quoted = quoted
                if quoted:
                    return Capability(name, "works", "the right ETag is taken, another refused")
                return Capability(name, "otherwise", "with an ETag without quotes only")
    return Capability(
        name,
        "refused",
        "the store refuses If-Match with the right ETag: nothing could be activated or paused",
        cure=_cure_of_versions(store, output),
    )


def _takes(store: "ObjectStore", output: Output, condition: str) -> bool:
    try:
        store.put_raw(output.bucket, _probe(output), BODY, IfMatch=condition)
    except Conflict:
        return False
    return True


def _cure_of_versions(store: "ObjectStore", output: Output) -> str:
    if store.client.keeps_versions(output.bucket):
        return (
            "This bucket keeps versions, and some stores ignore conditions there (Ceph RGW does): "
            "take a bucket for the output that never kept any."
        )
    return CURE


def reads(store: "ObjectStore", output: Output) -> list[Capability]:
    """Parts of an object, pinned to its content: videos are read like that."""
    name = "ranged reads"
    for _ in range(RACES):
        etag = _etag(store, output)
        try:
            part = store.get_range(output.bucket, _probe(output), 1, 3, etag=etag)
        except Overwritten:
            continue
        except WholeAnswer:
            part = BODY
        if part != BODY[1:3]:
            how = "the store answers a GET of a part with something else"
            return [Capability(name, "refused", how, cure=CURE)]
        try:
            store.get_range(output.bucket, _probe(output), 1, 3, etag=STALE)
        except Overwritten:
            return [Capability(name, "works", "the right bytes, and of no other content")]
        how = "the store ignores If-Match at a GET: half of a video could be another one"
        return [Capability(name, "refused", how, cure=CURE)]
    how = "the store refuses a GET that names the right ETag: no video could be read"
    return [Capability(name, "refused", how, cure=CURE)]


def order(store: "ObjectStore", output: Output) -> list[Capability]:
    """Whether many keys can be looked for in a listing. Where that cannot be tried, it cannot."""
    name, folder = "list order", f"{output.prefix}probes/order/"
    expected = [folder + name for name in ORDER]

    def in_order() -> bool:
        # After the name of a folder, which itself is no object: some leave its whole content out.
        page, _ = store.list_page(output.bucket, folder, after=f"{folder}a")
        return [item.key for item in page] == expected[1:]

    try:
        found = in_order()
        if not found:
            for key in expected:
                _put_once(store, output, key)
            found = in_order()
    except (Forbidden, StoreRefuses):
        found = False
    store.dialect.ordered = found
    if found:
        return [Capability(name, "works", "by UTF-8 bytes, on from any key")]
    return [Capability(name, "otherwise", "not by UTF-8 bytes: each key is asked for by itself")]


def names(store: "ObjectStore", output: Output) -> list[Capability]:
    """A key as long as ours get, in segments as long as ours get."""
    name = "key length"
    key = f"{output.prefix}probes/"
    while len(key.encode()) < MAX_KEY_BYTES:
        room = min(MAX_SEGMENT_BYTES, MAX_KEY_BYTES - len(key.encode()))
        key += "가" * (room // 3) + "-" * (room % 3)
        key += "/" if len(key.encode()) < MAX_KEY_BYTES - 1 else ""
    try:
        _put_once(store, output, key)
    except (StoreRefuses, StoreUnavailable) as error:
        _etag(store, output)  # is it there for others?
        how = f"the store takes no keys of {MAX_KEY_BYTES} bytes: {error}"
        return [Capability(name, "refused", how, cure=CURE)]
    how = f"{MAX_KEY_BYTES} bytes, {MAX_SEGMENT_BYTES} between two slashes"
    return [Capability(name, "works", how)]


def checksums(store: "ObjectStore", _: Output) -> list[Capability]:
    """As the writes before it found."""
    how = f"AWS_REQUEST_CHECKSUM_CALCULATION={store.client.checksums}"
    plain = store.client.checksums == "when_required"
    return [Capability("checksums", "otherwise" if plain else "works", how)]


ALL: tuple[Proof, ...] = (conditions, reads, order, names, checksums)


def look(store: "ObjectStore", output: Output) -> list[Capability]:
    """What it can do, for people. Raises as the proofs do, unless it is refused already."""
    found: list[Capability] = []
    for proof in ALL:
        try:
            found += proof(store, output)
        except (StoreUnavailable, StoreRefuses):
            if all(one.verdict != "refused" for one in found):
                raise
    return found


def _etag(store: "ObjectStore", output: Output) -> str:
    """Of the probe."""
    try:
        return store.head(output.bucket, _probe(output)).etag
    except Missing:
        _put_once(store, output, _probe(output))
        return store.head(output.bucket, _probe(output)).etag


def _put_once(store: "ObjectStore", output: Output, key: str) -> None:
    try:
        store.put_raw(output.bucket, key, BODY, IfNoneMatch="*")
    except Conflict:
        return  # from an earlier start


def _probe(output: Output) -> str:
    return f"{output.prefix}probes/conditional-put"


def _place(output: Output) -> str:
    return f"s3://{output.bucket}/{output.prefix}"
