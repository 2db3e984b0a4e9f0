"""Which captions people are to judge, and which other text stands beside each.

- The newest caption of each video under a prefix, beside what another recipe said of that video:
  another prompt, an earlier generation, one of several that were drawn (`jamak data pairs`).
- What somebody has judged already, beside the text that they preferred or wrote: so that others
  decide where people disagree.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from producer.bucket.captions import caption_in, views_under
from producer.feedback.tasks import Task
from shared.bucket.keys import is_record, name_of, parse_uri, recipes_folder
from shared.bucket.records import Records
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE, read
from shared.errors import JamakError, Missing, Reject
from shared.feedback import Correction, Feedback, Preference, text_digest
from shared.messages import Caption
from shared.settings import Settings

MOST_READ = 4
"""Records of a video, the last ones, among which another text is looked for."""

Unread = Callable[[JamakError], None]


def captioned(
    store: ObjectStore, settings: Settings, bucket: str, prefix: str, unread: Unread
) -> Iterator[Task]:
    """The newest caption of each video. `unread` is told of what cannot be read."""
    records, others = Records(store, settings), _records_under(store, settings, bucket, prefix)
    for view in views_under(store, settings, bucket, prefix):
        try:
            caption = caption_in(store, view)
        except UNREADABLE as error:
            unread(error)
            continue
        if caption is None:
            continue
        known = others[name_of(caption.video)]
        record = records.place_of(caption)
        yield Task(record, caption, _other(store, caption, record, known, unread))


def judged(
    store: ObjectStore, settings: Settings, items: Iterable[Feedback], unread: Unread
) -> Iterator[Task]:
    """The captions that items are about, as far as they are there; the last other text of each.
    What an item says of where its caption lies is believed only of records of ours."""
    others: dict[str, str | None] = {}
    ours = [one for one in items if is_record(settings, one.about.record)]
    for item in sorted(ours, key=lambda one: one.at):
        others[item.about.record] = _other_of(item) or others.get(item.about.record)
    for record, other in others.items():
        try:
            caption = read(store, Caption, *parse_uri(record))
        except Missing:
            continue
        except (Reject, *UNREADABLE) as error:
            unread(error)
            continue
        yield Task(record, caption, other)


def _other_of(item: Feedback) -> str | None:
    if isinstance(item, Correction):
        return item.text
    if isinstance(item, Preference):
        return item.rejected if item.liked else item.chosen
    return None


def _records_under(
    store: ObjectStore, settings: Settings, bucket: str, prefix: str
) -> defaultdict[str, list[ObjectInfo]]:
    """Those of each version of a video, by its name under a recipe."""
    found: defaultdict[str, list[ObjectInfo]] = defaultdict(list)
    for output in settings.all_outputs:
        recipes = recipes_folder(output.prefix, "records", bucket)
        for recipe in store.folders(output.bucket, recipes):
            for info in store.list(output.bucket, f"{recipes}{recipe}/{prefix}"):
                name = info.key.removeprefix(f"{recipes}{recipe}/").removesuffix(".json")
                found[name].append(info)
    return found


def _other(
    store: ObjectStore, caption: Caption, record: str, known: list[ObjectInfo], unread: Unread
) -> str | None:
    """The last text that is not the caption's."""
    last = sorted(known, key=lambda info: info.last_modified, reverse=True)[:MOST_READ]
    for info in last:
        if f"s3://{info.bucket}/{info.key}" == record:
            continue
        try:
            other = read(store, Caption, info.bucket, info.key)
        except Missing:
            continue
        except UNREADABLE as error:
            unread(error)
            continue
        if other.text and text_digest(other.text) != text_digest(caption.text):
            return other.text
    return None
