"""How far a long video is: the segments that have their captions are in the bucket."""

from shared.bucket.keys import parts_folder, recipes_folder
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.messages import Cuts, Video
from shared.settings import Settings


def segments_done(store: ObjectStore, settings: Settings, video: Video) -> tuple[int, int] | None:
    """So many of so many; of several recipes, or of both sides of a trial, by the one that was last
    worked at. None: it is not captioned in segments, or not yet."""
    bucket, prefix = settings.output_of(video.bucket, video.key)
    recipes = recipes_folder(prefix, "parts", video.bucket)
    begun = []
    for recipe in store.folders(bucket, recipes):
        folder = parts_folder(f"{recipes}{recipe}/", video)
        parts = {part.key: part.last_modified for part in store.list(bucket, folder)}
        cuts = f"{folder}cuts.json"
        if cuts in parts:
            last = max(parts, key=lambda key: parts[key])
            side = last.rpartition("/")[0]
            done = sum(key.rpartition("/")[0] == side for key in parts.keys() - {cuts})
            begun.append((parts[last], cuts, done))
    if not begun:
        return None
    _, cuts, done = max(begun)
    return done, len(read(store, Cuts, bucket, cuts).segments_s)
