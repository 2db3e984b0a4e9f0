"""`jamak data pairs`: preferences of our own making, from captions that the fleet draws.

Knows the bucket and the queues; which of two captions is the better one is decided elsewhere.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Annotated

import typer
from rich.markup import escape

from shared.broker.apps import caption_prefix, leased_queues
from shared.broker.proofs import prove_producer
from shared.bucket.keys import parse_uri
from shared.bucket.places import check_new
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.console import AsJson, err, out, print_json
from shared.errors import BadData, Forbidden, Missing, UsageError
from shared.language import spoken
from shared.messages import AdapterUsed, Caption, CaptionJob, Decoding, Flag, Recipe, Sampling
from shared.rows import FrameOrder, MediaRef, Row
from shared.settings import CardName, Settings, load_settings
from workers.data.candidates import Candidates, least_class
from workers.data.places import write
from workers.data.preferences import By, Judge
from workers.train.data import read_manifest, with_splits
from workers.train.manifest import MOST_BYTES, PARQUET, written

ENDINGS = (".jsonl", PARQUET)
"""Of a manifest; anything else is a prefix."""
MOST_DRAWS = 64
"""Of one video."""
FLAWS = frozenset[Flag]({"truncated", "garbled", "repetitive", "wrong_language"})
"""Of a caption that nobody is to learn, though it may well be the worse one of two."""


@dataclass
class Made:
    """What came of the videos."""

    videos: int = 0
    drawn: int = 0
    asked: int = 0
    """Rows of whose videos captions were drawn."""
    failed: int = 0
    """Draws without a caption."""
    pairs: int = 0
    alike: int = 0
    """Of these rows, whose captions gave no pair."""
    reordered: int = 0
    left_out: int = 0
    """Rows of a part of a video, of which the fleet draws nothing, or of an image."""
    missing: list[str] = field(default_factory=list)
    """Rows whose video is not there."""
    adapters: dict[str, int] = field(default_factory=dict)
    """Of the draws, by the version that made them; "" = the base model."""

    def made_by(self, adapter: AdapterUsed | None) -> None:
        version = adapter.version if adapter else ""
        self.adapters[version] = self.adapters.get(version, 0) + 1


def pairs(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="s3://bucket/manifest.jsonl with the right captions, or s3://bucket/prefix/ with "
            "videos; then --rejects says what is wrong.",
        ),
    ],
    to: Annotated[str, typer.Option(help="s3://bucket/pairs.jsonl")],
    draws: Annotated[
        int, typer.Option(min=0, max=MOST_DRAWS, help="Captions of each video; 0 = none.")
    ] = 4,
    temperature: Annotated[float, typer.Option(min=0.01, max=10.0)] = 1.0,
    by: Annotated[By, typer.Option(help="How near a caption is to the right one.")] = "chrf",
    margin: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="By which the chosen one must be nearer.")
    ] = 10.0,
    rejects: Annotated[
        str | None,
        typer.Option(help="A regular expression: what the rejected text has and the chosen not."),
    ] = None,
    frames_in: Annotated[
        FrameOrder | None,
        typer.Option(
            "--frames-in",
            help="Also a row for each right caption that it is rejected before the frames in this "
            "order.",
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Of each video; without it as the card allows.")
    ] = None,
    generation: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="Raise it to draw again with today's adapter."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make preference rows: of captions that the fleet draws, and of frames in another order.

    What was drawn before is not drawn again, so after an interruption the same command goes on.
    """
    parse_uri(source, "SOURCE")
    _, key = parse_uri(to, "--to")
    if not key.endswith(ENDINGS):
        raise UsageError(f"--to: {to} is no manifest", cure="Name one: s3://bucket/pairs.jsonl.")
    if draws == 0 and not frames_in:
        raise UsageError("nothing is asked for", cure="Name --draws or --frames-in.")
    judge, card = Judge(by, margin, _pattern(rejects)), least_class(frames)
    settings = load_settings()
    store = ObjectStore(outputs=settings.all_outputs)
    check_new(to, store, "--to")
    told = Made()
    rows = _rows(source, settings, store, told)
    if rejects is None and any(row.completion is None for row in rows):
        raise UsageError(
            "videos without a right caption give no pairs by themselves",
            cure="Say by --rejects what is wrong in a caption, or name a manifest.",
        )
    made: list[Row] = []
    if draws:
        recipe = _recipe(settings, temperature, frames, generation)
        whole = [row for row in rows if row.media.whole]
        told.left_out += len(rows) - len(whole)
        made += _drawn(whole, recipe, card, draws, judge, settings, store, told)
    if frames_in:
        made += _turned(rows, frames_in)
        told.reordered = len(made) - told.pairs
    if not as_json:
        _say_what_is_left_out(told)
    if not made:
        raise UsageError(
            f"no pairs came of {told.videos} videos",
            cure="Draw more captions, at a higher temperature, or lower --margin.",
        )
    write(to, written(made, to), store)
    if as_json:
        print_json({**asdict(told), "to": to, "rows": len(made)})
        return
    out.print(
        spoken(
            f"{len(made)} rows: {told.pairs} of captions, {told.reordered} of frames in another "
            f"order; {told.alike} of {told.asked} gave no pair"
        )
    )
    if told.failed:
        err.print(spoken(f"captions that could not be drawn: {told.failed}"))
    out.print(to, highlight=False, soft_wrap=True)
    if len(told.adapters) > 1:
        err.print(
            spoken(
                "the captions are of several adapters: --generation draws them anew with the one "
                "in use"
            )
        )


def _say_what_is_left_out(told: Made) -> None:
    if told.left_out:
        err.print(
            spoken(
                f"nothing is drawn of parts of videos and of images: {told.left_out} rows; "
                "--frames-in takes parts, too"
            )
        )
    if told.missing:
        err.print(
            spoken(f"rows whose video is not there: {len(told.missing)}, the first is"),
            escape(told.missing[0]),
        )


def _drawn(
    rows: Sequence[Row],
    recipe: Recipe,
    card: CardName,
    draws: int,
    judge: Judge,
    settings: Settings,
    store: ObjectStore,
    told: Made,
) -> Iterator[Row]:
    """Of each row whose video's captions differ, the better and the worse one."""
    queues = leased_queues(settings, caption_prefix(settings))
    prove_producer(queues)
    with err.status(spoken("drawing captions …")) as line:

        def show() -> None:
            told.drawn += 1
            line.update(spoken(f"drawing captions: {told.drawn} of {draws * len(rows)}"))

        fleet = Candidates(Records(store, settings), queues)
        asked: deque[Row] = deque()
        drawn = fleet.drawn(_jobs(rows, store, recipe, card, draws, asked, told), show)
        while found := [one for _, one in islice(drawn, draws)]:
            row = asked.popleft()
            captions = [one for one in found if isinstance(one, Caption)]
            told.failed += draws - len(captions)
            told.asked += 1
            for one in captions:
                told.made_by(one.adapter)
            flawed = {one.text for one in captions if FLAWS & set(one.flags)}
            pair = judge.pair([one.text for one in captions], row.completion, flawed)
            if pair is None:
                told.alike += 1
            else:
                told.pairs += 1
                yield _preference(row, "drawn", pair.chosen, pair.rejected)


def _turned(rows: Sequence[Row], order: FrameOrder) -> Iterator[Row]:
    """Of each right caption, that it is wrong before the frames in another order."""
    for row in rows:
        if row.completion is not None:
            yield _preference(row, order, row.completion, row.completion, order)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise UsageError(
            f"--rejects: {text!r} is no regular expression: {error}",
            cure="Write a part of the text; of what means something, with a backslash before it.",
        ) from error


def _rows(source: str, settings: Settings, store: ObjectStore, told: Made) -> list[Row]:
    """Of videos and parts of them, their addresses absolute."""
    bucket, key = parse_uri(source, "SOURCE")
    if key.endswith(ENDINGS):
        try:
            body = store.get(bucket, key, MOST_BYTES)
        except Missing as error:
            raise UsageError(f"{source} does not exist", cure="Check the address.") from error
        read = read_manifest(body, source, "sft", settings.prompt)
        films = [row for row in read if row.videos]
        told.left_out = len(read) - len(films)
        with suppress(BadData):  # of one video: that training says so
            # The split depends on the videos' names, so it comes before they are changed: what
            # another stage holds out of this set, a training with the pairs holds out, too.
            films = with_splits(films)
        rows = [row.with_media(uri=_absolute(source, row.media.uri)) for row in films]
    else:
        rows = list(_videos_under(bucket, key, settings, store))
    if not rows:
        raise UsageError(f"there are no videos in {source}", cure="Check the address.")
    told.videos = len({row.media.uri for row in rows})
    return rows


def _absolute(manifest_uri: str, uri: str) -> str:
    return uri if uri.startswith("s3://") else f"{manifest_uri.rpartition('/')[0]}/{uri}"


def _videos_under(
    bucket: str, prefix: str, settings: Settings, store: ObjectStore
) -> Iterator[Row]:
    for info in store.list(bucket, prefix):
        if info.key.lower().endswith(settings.video_suffixes):
            uri = f"s3://{bucket}/{info.key}"
            yield Row(id=info.key, videos=(MediaRef(uri=uri),), prompt=settings.prompt)


def _recipe(
    settings: Settings, temperature: float, frames: int | None, generation: int | None
) -> Recipe:
    asked = Decoding.asked(settings)
    return Recipe(
        prompt=settings.prompt,
        sampling=Sampling(frames=frames),
        model=settings.model,
        revision=settings.model_revision,
        decoding=asked.model_copy(update={"temperature": temperature}),
        generation=settings.generation if generation is None else generation,
    )


def _jobs(
    rows: Sequence[Row],
    store: ObjectStore,
    recipe: Recipe,
    card: CardName,
    draws: int,
    asked: deque[Row],
    told: Made,
) -> Iterator[CaptionJob]:
    """Of each row whose video is there, which is then among those `asked`."""
    for row in rows:
        try:
            video = video_of(store.head(*parse_uri(row.media.uri)))
        except (Missing, Forbidden):
            told.missing.append(row.id)
            continue
        asked.append(row)
        for draw in range(draws):
            drawn = recipe.decoding.model_copy(update={"draw": draw})
            one = recipe.model_copy(update={"prompt": row.prompt, "decoding": drawn})
            yield CaptionJob(video=video, recipe=one, card=card)


def _preference(
    row: Row, name: str, chosen: str, rejected: str, order: FrameOrder | None = None
) -> Row:
    return Row(
        id=f"{row.id}-{name}",
        videos=row.videos,
        prompt=row.prompt,
        chosen=chosen,
        rejected=rejected,
        rejected_frames=order,
        split=row.split,
        source=row.source,
        license=row.license,
        origin="synthetic",
    )
