"""Which of several places an address lies in. Whole path segments are compared."""

from collections.abc import Iterable


def lies_in(uri: str, place: str) -> bool:
    """Whether it is this place or something in it: what is in `s3://b/in-2/` does not lie in
    `s3://b/in`."""
    return uri == place or uri.startswith(f"{place.removesuffix('/')}/")


def innermost(uri: str, places: Iterable[str]) -> str | None:
    """The longest of the places that it lies in; None: it lies in none."""
    return max((one for one in places if lies_in(uri, one)), key=len, default=None)
