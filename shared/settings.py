"""Settings: the one place where the environment is read, once, by each entry.

Credentials, region and endpoint of S3 and SQS are boto3's own: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_PROFILE and so on.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import NoDecode

from shared.allowed import Allowed
from shared.broker_settings import PREFIX
from shared.errors import ConfigError
from shared.language import spoken
from shared.lists import as_typed, parse_list, parse_pairs
from shared.prefixes import innermost
from shared.prompts import BASE_PROMPT, check_prompt
from shared.settings_errors import wrong_variables
from shared.shown import visible
from shared.train_settings import TrainSettings

CardName = Literal["t4", "l4", "a100", "h100", "cpu"]

OTHERS = re.compile(
    # The tests' own, and what Kubernetes sets for a Service whose name begins with `jamak-`.
    r"JAMAK_(TEST_\w+|\w+_SERVICE_(HOST|PORT\w*)|\w+_PORT(_\d+_(TCP|UDP|SCTP)\w*)?)"
)
"""Variables that begin like ours and are no settings."""


Texts = Annotated[tuple[str, ...], NoDecode]


class Output(NamedTuple):
    """A place for captions."""

    bucket: str
    prefix: str
    """Empty, or ending in `/`."""


class Settings(TrainSettings):
    """Each field is an environment variable: `JAMAK_` and the field's name in capitals."""

    lang: Literal["ko", "en"] | None = Field(
        None,
        description="Language of messages, cures, tables and help: `ko` or `en`. Without it that "
        "of the locale, where it is Korean. Records, logs and `--json` are English.",
    )

    # The bucket
    output: str = Field(
        "s3://jamak-output/",
        description="Where records, failures, captions and adapters are written: `s3://bucket/` "
        "or `s3://bucket/prefix/`. May be the videos' own bucket: nothing under it is captioned.",
    )
    outputs: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="Where the captions of some videos go instead: "
        "`s3://bucket/prefix/=s3://other/`, several with commas between them, or a JSON object, "
        '`{"s3://bucket/prefix/": "s3://other/"}`; the longest prefix counts. Producers and '
        "workers must agree.",
    )
    events_queue_url: str | None = Field(
        None, description="URL of the SQS queue with the bucket's notifications (`jamak listen`)."
    )
    sources: Texts = Field(
        (),
        description="Which videos `jamak listen` takes: `s3://bucket/prefix`, several with commas "
        "between them or as a JSON list; a prefix names a whole folder. Empty = all that the queue "
        "names.",
    )
    video_suffixes: Texts = Field(
        (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg"),
        description="Which keys of a prefix or of an event are videos, by their endings; with "
        "commas between them or as a JSON list.",
    )

    # The model
    model: str = Field(
        "llava-hf/LLaVA-NeXT-Video-7B-hf",
        description="The base model's id. Part of the recipe: producer and workers must agree.",
    )
    model_revision: str = Field(
        "main", description="The base model's revision. Pin a commit hash in production."
    )
    model_path: Path | None = Field(
        None,
        description="A local directory with the weights. Without it they come from the Hugging "
        "Face cache or hub.",
    )
    prompt: str = Field(BASE_PROMPT, description="The prompt of new jobs.")
    language: Literal["ko", "any"] = Field(
        "ko",
        description="Of new jobs: `ko` lets the model write no letters but Korean and Latin ones.",
    )
    addresses: Texts = Field(
        ("https://",),
        description="Where videos may be read from besides S3: `https://` is every public host; "
        "`https://host/`, `http://host:8080/folder/` and `file:///folder/` are that host, port or "
        "folder, public or not. With commas between them or as a JSON list.",
    )
    sampling: Literal["uniform", "adaptive"] = Field(
        "uniform",
        description="How new jobs choose frames: evenly, or by content, at least one a scene.",
    )
    segments: str | None = Field(
        None,
        pattern=r"^(auto|[1-9][0-9]*|[0-9]+([.][0-9]+)?s)$",
        description="New jobs caption a video in parts: `auto`, so many (`8`), or of such a length "
        "(`30s`).",
    )
    generation: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Raise it to caption everything again, with the adapter of the day.",
    )

    # The worker
    card: CardName | None = Field(
        None, description="Card class. Without it the class follows from the card (`jamak cards`)."
    )
    device: Literal["cuda", "cpu"] | None = Field(
        None, description="`cpu` runs any card class's budget on the CPU; records say `emulated`."
    )
    engine: Literal["fast", "same", "plain"] = Field(
        "fast",
        description="How captions are computed on a GPU: `fast` with CUDA graphs; `same` always "
        "for all rows, built so that a caption is the same bytes alone and in company (not "
        "measured yet); `plain` without graphs, to look for a fault. On a CPU company never "
        "changes a byte.",
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        description="Jobs in hand of a captioner. Without it as many as keep all rows of its "
        "engine full, and some more, whose videos are fetched meanwhile (docs/cards.md).",
    )
    features_mib: int = Field(
        1024,
        ge=0,
        description="Host memory for what the vision tower made of frames: another caption of the "
        "same video needs no download, no decoding and no vision then (docs/engine.md). 0 = "
        "nothing is kept.",
    )
    max_video_bytes: int = Field(
        4 * 2**30,
        ge=1,
        description="The most that is read of one video, and kept on disk while it is decoded. "
        "Of an MP4 that is what its frames need, of other files all of it.",
    )
    max_pixels: int = Field(
        4096 * 2304, ge=1, description="Larger pictures (width x height) are rejected."
    )
    max_decoded_frames: int = Field(
        500_000,
        ge=1,
        description="A video for whose frames, or those of one of its segments, more have to be "
        "decoded is rejected.",
    )
    caption_deadline_s: float = Field(
        900.0, gt=0, description="A job that takes longer, from download to text, is rejected."
    )
    decode_deadline_s: float = Field(
        300.0,
        gt=0,
        description="A video whose frames take longer is rejected; waiting for S3 does not count.",
    )
    decode_cpu_s: float = Field(
        120.0, gt=0, description="A video whose frames take more CPU time is rejected."
    )
    decoder_memory_mib: int = Field(
        2048,
        ge=512,
        description="Address space of each decoder process; a video that needs more is rejected.",
    )
    require_isolation: bool = Field(
        False,
        description="Start no worker whose decoder processes cannot be kept from the network, "
        "files, other processes and programs; without it a worker starts, and its log says what "
        "they are not kept from.",
    )
    sparse_s: float = Field(
        60.0,
        gt=0,
        description="A caption with more seconds of video per frame is flagged `low_coverage`.",
    )
    drain_s: float = Field(
        25.0,
        ge=0,
        description="After SIGTERM a worker finishes what it can in this time, and hands the rest "
        "back. Stay below the notice: 25 for GCP's and Azure's 30 s, 110 for AWS's two minutes.",
    )
    train_once_s: float | None = Field(
        None,
        gt=0,
        description="A trainer ends by itself after one job, or when none has come for so many "
        "seconds: for a Kubernetes Job or an array of Slurm. Without it, it stays.",
    )
    adapter_poll_s: float = Field(
        5.0,
        gt=0,
        description="How often a worker looks for a newly activated adapter and writes what it saw "
        "of one on trial, and, up to 5 seconds, how often the watcher reads that.",
    )
    scratch_dir: Path | None = Field(
        None,
        description="For downloads and adapters, made if it is not there; without it the system's "
        "temporary directory. Each worker has a folder of its own in it. If it is set, workers "
        "keep there what was too much for the memory of their cards (docs/engine.md).",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of `/metrics` (Prometheus), `/livez` and `/readyz`, one for each process "
        "of a machine; 0 = none.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="The address that this port listens on. In a container it must be `0.0.0.0` "
        "(or `::`): probes and Prometheus come from outside.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log lines are JSON on stderr."
    )

    @field_validator("sources", "video_suffixes", "addresses", mode="before")
    @classmethod
    def _lists_are_read(cls, value: Any) -> Any:
        return parse_list(value) if isinstance(value, str) else value

    @field_validator("outputs", mode="before")
    @classmethod
    def _pairs_are_read(cls, value: Any) -> Any:
        return _outputs(value) if isinstance(value, str) else value

    @field_validator("video_suffixes")
    @classmethod
    def _suffixes_are_endings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not one.startswith("."):
                raise ValueError(f"{one!r} is no ending such as .mp4")
        return tuple(one.lower() for one in value)

    @field_validator("usd_per_hour")
    @classmethod
    def _prices_are_of_classes(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value.keys() - get_args(CardName):
            raise ValueError(f"{name!r} is no card class")
        return value

    @field_validator("output")
    @classmethod
    def _output_is_a_prefix(cls, value: str) -> str:
        return value if _address(value).endswith("/") else value + "/"

    @field_validator("outputs")
    @classmethod
    def _outputs_are_prefixes(cls, value: dict[str, str]) -> dict[str, str]:
        return {_address(source): cls._output_is_a_prefix(to) for source, to in value.items()}

    @field_validator("sources")
    @classmethod
    def _sources_are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address(source) for source in value)

    @field_validator("addresses")
    @classmethod
    def _addresses_name_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Allowed(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("prompt")
    @classmethod
    def _prompt_can_be_answered(cls, value: str) -> str:
        try:
            return check_prompt(value)
        except ConfigError as error:
            raise ValueError(f"{error}. {error.cure}") from error

    def output_of(self, bucket: str, key: str) -> Output:
        """Where the captions of this video go."""
        uri = f"s3://{bucket}/{key}"
        source = innermost(uri, self.outputs)
        to = (self.output if source is None else self.outputs[source])[5:]
        return Output(*to.split("/", 1))

    @property
    def all_outputs(self) -> list[Output]:
        places = dict.fromkeys((self.output, *self.outputs.values()))
        return [Output(*place[5:].split("/", 1)) for place in places]

    @property
    def named_outputs(self) -> list[tuple[str, Output]]:
        """All of them, each with the variable that names it."""
        first, *others = self.all_outputs
        return [("JAMAK_OUTPUT", first), *(("JAMAK_OUTPUTS", one) for one in others)]

    @property
    def output_bucket(self) -> str:
        return self.output[5:].split("/", 1)[0]

    @property
    def output_prefix(self) -> str:
        """Empty, or ending in `/`."""
        return self.output[5:].split("/", 1)[1]


def _outputs(text: str) -> dict[str, str]:
    return parse_pairs(text, "s3://bucket/prefix/=s3://other/", "s3://")


def _address(value: str) -> str:
    if not value.startswith("s3://") or not value[5:].split("/", 1)[0]:
        raise ValueError(f"{value!r} is not s3://bucket/ or s3://bucket/prefix/")
    return value


def load_settings(on_unknown: Callable[[str], None] | None = None) -> Settings:
    """Read the environment.

    Args:
        on_unknown: called with each warning about a variable that is no setting; without it, they
            go to stderr.

    Raises:
        ConfigError: naming each variable that is wrong, and how it is written.
    """
    for warning in unknown_variables(os.environ).values():
        if on_unknown:
            on_unknown(warning)
        else:
            print(visible(f"jamak: {spoken(warning)}"), file=sys.stderr)
    try:
        return Settings()
    except ValidationError as error:
        wrong = wrong_variables(error)
        raise ConfigError(
            "; ".join(f"{name}: {what}" for name, what in wrong.items()),
            cure="See docs/configuration.md.",
            variables=wrong,
        ) from error


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like settings and are none -> a warning, with the one that was meant."""
    known = [name.upper() for name in Settings.model_fields]
    found = {}
    for name in sorted(environ):
        upper = name.upper()
        ours = upper.startswith(PREFIX) and not OTHERS.fullmatch(upper)
        if not ours or upper.removeprefix(PREFIX) in known:
            continue
        near = get_close_matches(upper.removeprefix(PREFIX), known, n=1, cutoff=0.7)
        meant = f": did you mean {PREFIX}{near[0]}?" if near else ""
        found[name] = f"{name} is no setting of Jamak{meant}"
    return found


def configuration_markdown() -> str:
    """`docs/configuration.md`: `python -m shared.settings > docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "Generated from `shared/settings.py` by `python -m shared.settings`; a test keeps it true.",
        "",
        "S3 and SQS use boto3's own variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,",
        "`AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, `AWS_PROFILE`, instance roles and so on.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        shown = as_typed(field.default)
        lines.append(
            f"| `{PREFIX}{name.upper()}` | {shown and f'`{shown}`'} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(configuration_markdown(), end="")
