"""Values that travel: jobs on Redis, records and manifests in S3. Frozen, versioned, JSON.

`decode` is the one way in. A message is malformed once, at the door, or never.
"""

import hashlib
import json
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from shared.errors import BadMessage, NewerMessage
from shared.settings import CardName, Settings
from shared.text import composed

LARGEST = 2**53 - 1
"""So far whole numbers are exact in Redis's scripts and for every reader of JSON."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


M = TypeVar("M", bound=Message)


def decode(kind: type[M], payload: Any) -> M:
    """Read one message (a dict, or JSON text).

    Raises:
        NewerMessage: its `v` is newer than this code.
        BadMessage: anything else that is wrong with it, with the first fault named.
    """
    if isinstance(payload, str | bytes):
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"{kind.__name__} is not JSON: {error}") from error
    known = kind.model_fields["v"].default if "v" in kind.model_fields else None
    version = payload.get("v") if isinstance(payload, dict) else None
    if isinstance(version, int) and known is not None and known < version <= LARGEST:
        raise NewerMessage(f"{kind.__name__} version {version}; this process reads up to {known}")
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "message"
        raise BadMessage(f"{kind.__name__}: {where}: {fault['msg']}") from error


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


class Video(Message):
    """One version of one object. A version id only pins the read; it is not identity.

    What is in no bucket has its scheme and host for one: `https:example.com`.
    """

    bucket: str
    key: str
    etag: str
    size_bytes: Count
    version_id: str | None = None

    @property
    def content(self) -> tuple[str, str, str, int]:
        """Its identity."""
        return self.bucket, self.key, self.etag, self.size_bytes

    @property
    def video8(self) -> str:
        return digest(self.content)[:8]

    @property
    def in_bucket(self) -> bool:
        return ":" not in self.bucket

    @property
    def uri(self) -> str:
        """`s3://bucket/key`; of what is in no bucket its address, without what opens it."""
        scheme, colon, host = self.bucket.partition(":")
        return f"{scheme}://{host}/{self.key}" if colon else f"s3://{self.bucket}/{self.key}"


Segments = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]*|[0-9]+([.][0-9]+)?s)$")]


class Sampling(Message):
    strategy: Literal["uniform", "adaptive"] = "uniform"
    """`adaptive`: by content, at least one frame a scene. Since version 3 of a job."""
    frames: Annotated[Count, Field(ge=1)] | None = None
    """None = as many as the worker's card class allows."""
    segments: Segments | None = None
    """A caption for each part of a long video: `auto`, so many (`8`), or of such a length (`30s`).
    None = one caption. Since version 3 of a job."""


class Decoding(Message):
    max_new_tokens: Annotated[Count, Field(ge=1)] = 256
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 = greedy."""
    language: Literal["ko", "any"] = "any"
    """`ko`: no letters but Korean and Latin ones. Since version 4 of a job."""
    max_syllables: Annotated[Count, Field(ge=1)] | None = None
    """Instead of `max_new_tokens`, which then does not count: each worker converts it by its
    tokenizer. Since version 5 of a job."""
    draw: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Which of several, drawn at `temperature` for a training set: it is recorded, and never shown.
    None = the caption. Since version 6 of a job."""

    @property
    def set_by(self) -> str:
        """The setting by which a job's captions become longer."""
        return "JAMAK_MAX_NEW_TOKENS" if self.max_syllables is None else "JAMAK_MAX_SYLLABLES"

    @classmethod
    def asked(cls, settings: Settings) -> "Decoding":
        """Of new jobs."""
        if settings.max_new_tokens is not None:
            return cls(max_new_tokens=settings.max_new_tokens, language=settings.language)
        return cls(max_syllables=settings.max_syllables, language=settings.language)


_UNCOUNTED = Decoding().max_new_tokens
"""Of jobs that ask in syllables, whatever they say."""


class Recipe(Message):
    """How a caption is asked for. Adapter and card are not part of it: they are provenance."""

    task: Literal["caption"] = "caption"
    prompt: str
    sampling: Sampling = Sampling()
    model: str
    revision: str
    decoding: Decoding = Decoding()
    generation: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("prompt")
    @classmethod
    def _prompt_is_composed(cls, value: str) -> str:
        return composed(value)

    @property
    def id(self) -> str:
        return _recipe_id(self)


@lru_cache(maxsize=64)
def _recipe_id(recipe: Recipe) -> str:
    told = recipe.model_dump(mode="json")
    if recipe.sampling.segments is None:
        del told["sampling"]["segments"]  # recipes are older than segments
    if recipe.decoding.language == "any":
        del told["decoding"]["language"]  # and than this choice: they were not held to a language
    if recipe.decoding.max_syllables is None:
        del told["decoding"]["max_syllables"]  # and counted tokens
    else:
        told["decoding"]["max_new_tokens"] = _UNCOUNTED
    if recipe.decoding.draw is None:
        del told["decoding"]["draw"]  # and had one caption
    return digest(told)[:12]


class BacklogLine(Message):
    """Where a job stands in a backlog, which counts how its lines end."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    line: Annotated[int, Field(ge=0, lt=2**32)]
    """From 0, over all shards. Redis counts no further: a bitmap has 512 MiB at most."""


class CaptionJob(Message):
    v: Count = 6
    video: Video
    recipe: Recipe
    card: CardName = "t4"
    """The least class that may do it."""
    backlog: BacklogLine | None = None
    """Since version 2."""
    address: str | None = None
    """Where the video is, if in no bucket; it may be a secret. Since version 3."""

    @property
    def id(self) -> str:
        """The same job enqueued twice has the same id."""
        return f"{self.recipe.id}-{self.video.video8}"


Flag = Literal[
    "empty",  # no text at all; such a caption is a failure
    "truncated",  # stopped at the longest caption, not by itself
    "repetitive",
    "wrong_language",
    "garbled",  # a part of what was said is no text, and left out. Since version 4 of a record
    "low_coverage",  # fewer frames than asked for, or many seconds of video for each
    "damaged",  # parts of the video cannot be decoded; these are the frames that can
    "hdr",  # its colours need what only their maker's decoder has. Since version 4 of a record
    "reduced",  # fewer frames, because workers died with all of them, or memory ran out
    "emulated",  # a GPU class's budget on a CPU
]


class ModelIdentity(Message):
    id: str
    revision: str
    weights_sha256: str


class CardUsed(Message):
    name: CardName
    device: Literal["cuda", "cpu"]
    dtype: str
    quantized: bool


class Colour(Message):
    """Other than those of an ordinary screen."""

    transfer: Literal["sdr", "pq", "hlg"]
    primaries: Literal["bt709", "bt2020", "p3"]
    mapped: bool
    """The model saw them as an ordinary screen shows them; false: see the flag `hdr`."""


class TrackUsed(Message):
    """Of a file's picture tracks the one that was looked at."""

    index: Count
    """From 0, as in ffmpeg's `-map 0:v:1`."""
    of: Count
    reason: str


class FramesUsed(Message):
    requested: Count
    decoded: Count
    timestamps_s: tuple[float, ...]
    """Presentation times of the frames the model saw."""
    decode_errors: Count = 0
    targets_s: tuple[float, ...] = ()
    """The moments that were to be shown; short videos show one frame for several. Since
    version 2, as all that follows."""
    inexact: Count = 0
    """Frames that are only near what was on screen at their target."""
    seconds_per_frame: float = 0.0
    strategy: Literal["uniform", "adaptive"] = "uniform"
    """As it was done."""
    reason: str = ""
    """Why it was not done as asked for."""
    damage: str = ""
    """What is wrong with the file."""
    clock_jumps_s: Annotated[tuple[float, ...], Field(max_length=1000)] = ()
    """Where the file's clock starts again or jumps, so that another recording follows: several are
    joined in this file."""
    fetched_bytes: Count = 0
    """For this record. 0: what was seen in the frames was still in memory."""
    fetched: Literal["whole", "ranges"] = "whole"
    """`ranges`: what the file's index points at, and no more."""
    colour: Colour | None = None
    """None: an ordinary one. Since version 4, as what follows."""
    deinterlaced: Count = 0
    """Frames that held two pictures, and of which the model saw the first."""
    track: TrackUsed | None = None
    aspect: float | None = None
    """Width by height of the first frame, upright, without what the file cuts off, and with points
    as wide as the file says; before it was cut to the model's square."""


class TokensUsed(Message):
    visual: Count
    prompt: Count
    """Without the visual ones."""
    generated: Count


class AdapterUsed(Message):
    version: str
    generation: Count
    """Of the pointer: it grows with each activation and rollback."""


Arm = Literal["incumbent", "canary"]
"""Of a trial: the adapter in use, or the one that is tried beside it."""


class TrialUsed(Message):
    """A trial that was under way, and on which side of it the caption is."""

    generation: Count
    """Of the pointer when the trial began."""
    arm: Arm
    instead: str = ""
    """Why it is not by the canary, whose turn it was: a stable word. Empty: it is by whose turn it
    was."""


class Cuts(Message):
    """How a long video is parted; written once, so that every worker parts it alike."""

    v: Count = 1
    segments_s: tuple[tuple[float, float], ...]
    """Start and end of each, from the start of the picture, in order and without gaps."""
    reason: str


class Segment(Message):
    """A part of a long video, and what is said of it."""

    v: Count = 2
    start_s: float
    end_s: float
    text: str
    """Empty: see the flags."""
    flags: tuple[Flag, ...]
    frames: FramesUsed
    tokens: TokensUsed
    adapter: AdapterUsed | None


class Caption(Message):
    """The record: what was said about which video, and how it came about. Immutable."""

    v: Count = 6
    status: Literal["ok", "partial"]
    flags: tuple[Flag, ...]
    text: str
    video: Video
    last_modified: datetime
    """Of the video. The view shows the newest video's caption."""
    duration_s: float
    frames: FramesUsed
    tokens: TokensUsed
    recipe_id: str
    recipe: Recipe
    model: ModelIdentity
    adapter: AdapterUsed | None
    """None = the base model."""
    card: CardUsed
    timings_s: dict[str, float]
    created_at: datetime
    jamak: str
    """Version of the software."""
    segments: tuple[Segment, ...] = ()
    """Of a long video; `text` is made from theirs. Since version 2."""
    parting: str = ""
    """Why they begin where they do. Since version 2."""
    trial: TrialUsed | None = None
    """None: none was under way, or it took no part. Since version 6."""


class Failure(Message):
    """The record of a job that cannot succeed. A caption beats it."""

    v: Count = 6
    status: Literal["failed"] = "failed"
    flags: tuple[Flag, ...] = ()
    reason: str
    """A stable word: the `reason` of an error of shared/errors.py."""
    message: str
    cure: str
    evidence: dict[str, Any]
    video: Video
    recipe_id: str
    recipe: Recipe
    card: CardUsed
    least: CardName = "t4"
    """The least class that the job was for. Since version 2."""
    backlog: BacklogLine | None = None
    """Of the job. Since version 2."""
    attempts: Count
    created_at: datetime
    jamak: str


def record_schema() -> dict[str, Any]:
    """JSON Schema of a record: `python -m shared.messages > docs/record.schema.json`."""
    schema = TypeAdapter(Caption | Failure).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record of Jamak: a caption, or why there is none",
        **schema,
    }


if __name__ == "__main__":
    print(json.dumps(record_schema(), indent=2, ensure_ascii=False))
