"""Which of many keys there are: listed instead of asked for one by one, where that can be done.

The names that are looked for are sorted, and so is a listing; but they may lie far apart, and other
names between them. So each page of the listing begins where the next name would be, and a page
never brings less than the answer to one name.
"""

from collections.abc import Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor

from shared.bucket.storage import ObjectStore

READS_AT_ONCE = 16


def present(
    store: ObjectStore,
    bucket: str,
    folder: str,
    names: Iterable[str],
    etags: MutableMapping[str, str] | None = None,
) -> set[str]:
    """Those of the names, all under `folder`, that are there.

    Args:
        etags: takes those that the listing tells.

    S3 lists in the order of UTF-8 bytes, which is the order of code points and so of Python's str.
    Where a store does not, each name costs a request.
    """
    wanted = sorted(set(names))
    if not store.lists_in_order(bucket, folder):
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="present") as pool:
            there = pool.map(lambda name: store.exists(bucket, name), wanted)
            return {name for name, is_there in zip(wanted, there, strict=True) if is_there}
    found: set[str] = set()
    at, after = 0, ""
    while at < len(wanted):
        # Without its last character a name comes before itself, and almost nothing in between.
        page, more = store.list_page(bucket, folder, after=max(after, wanted[at][:-1]))
        listed = {item.key: item.etag for item in page}
        after = page[-1].key if page else ""
        while at < len(wanted) and (wanted[at] <= after or not more):
            if wanted[at] in listed:
                found.add(wanted[at])
                if etags is not None:
                    etags[wanted[at]] = listed[wanted[at]]
            at += 1
    return found
