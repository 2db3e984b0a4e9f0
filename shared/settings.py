"""Settings: the one place where the environment is read, once, by each entry.

Credentials, region and endpoint of S3 and SQS are boto3's own: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_PROFILE and so on.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.allowed import Allowed
from shared.errors import ConfigError
from shared.prompts import BASE_PROMPT, check_prompt

CardName = Literal["t4", "l4", "a100", "h100", "cpu"]


class Output(NamedTuple):
    """A place for captions."""

    bucket: str
    prefix: str
    """Empty, or ending in `/`."""


class Settings(BaseSettings):
    """Each field is an environment variable: `JAMAK_` and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="JAMAK_", extra="ignore", frozen=True, env_ignore_empty=True
    )

    # The broker
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="The broker: `redis://user:password@host:port/db`, or `rediss://` for TLS. It "
        "must have `maxmemory-policy noeviction`, and an append-only file. What each role may do "
        "is in `infra/redis/users.acl`.",
    )
    redis_prefix: str = Field(
        "jamak",
        description="Prefix of every Redis key. Captions live under `<prefix>:`, training under "
        "`<prefix>-train:`.",
    )
    redis_ca_file: Path | None = Field(
        None, description="CA certificate for `rediss://`; without it the system's store is used."
    )

    visibility_timeout_s: float = Field(
        30.0,
        ge=2,
        description="How long the job of a worker that fell silent stays with it. Each running job "
        "is renewed four times in it, so jobs may take hours. The same for every process.",
    )

    # The bucket
    output: str = Field(
        "s3://jamak-output/",
        description="Where records, failures, captions and adapters are written: `s3://bucket/` "
        "or `s3://bucket/prefix/`. May be the videos' own bucket: nothing under it is captioned.",
    )
    outputs: dict[str, str] = Field(
        {},
        description="Where the captions of some videos go instead (JSON object): "
        '`{"s3://bucket/prefix/": "s3://other/"}`; the longest prefix counts. Producers and '
        "workers must agree.",
    )
    events_queue_url: str | None = Field(
        None, description="URL of the SQS queue with the bucket's notifications (`jamak listen`)."
    )
    sources: tuple[str, ...] = Field(
        (),
        description="Which videos `jamak listen` takes: a JSON list of `s3://bucket/prefix`; empty "
        "= all that the queue names.",
    )
    video_suffixes: tuple[str, ...] = Field(
        (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg"),
        description="Which keys of a prefix or of an event are videos (JSON list, lower case).",
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
    max_new_tokens: int = Field(256, ge=1, description="The longest caption, in tokens.")
    addresses: tuple[str, ...] = Field(
        ("https://",),
        description="Where videos may be read from besides S3 (JSON list): `https://` is every "
        "public host; `https://host/`, `http://host:8080/folder/` and `file:///folder/` are that "
        "host, port or folder, public or not.",
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
        0, ge=0, description="Raise it to caption everything again, with the adapter of the day."
    )

    # The worker
    card: CardName | None = Field(
        None, description="Card class. Without it the class follows from the card (`jamak cards`)."
    )
    device: Literal["cuda", "cpu"] | None = Field(
        None, description="`cpu` runs any card class's budget on the CPU; records say `emulated`."
    )
    concurrency: int = Field(
        4, ge=1, description="Captions in flight per worker: one is decoded while another runs."
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
    adapter_poll_s: float = Field(
        5.0, gt=0, description="How often a worker looks for a newly activated adapter."
    )
    scratch_dir: Path | None = Field(
        None, description="For downloads and adapters; without it the system's temporary directory."
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
            raise ValueError(f"{error}. {error.cure}") from error
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
        source = max((one for one in self.outputs if uri.startswith(one)), key=len, default="")
        to = self.outputs.get(source, self.output)[5:]
        return Output(*to.split("/", 1))

    @property
    def all_outputs(self) -> list[Output]:
        places = dict.fromkeys((self.output, *self.outputs.values()))
        return [Output(*place[5:].split("/", 1)) for place in places]

    @property
    def output_bucket(self) -> str:
        return self.output[5:].split("/", 1)[0]

    @property
    def output_prefix(self) -> str:
        """Empty, or ending in `/`."""
        return self.output[5:].split("/", 1)[1]


def _address(value: str) -> str:
    if not value.startswith("s3://") or not value[5:].split("/", 1)[0]:
        raise ValueError(f"{value!r} is not s3://bucket/ or s3://bucket/prefix/")
    return value


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigError: naming each variable that is wrong.
    """
    try:
        return Settings()
    except SettingsError as error:  # a list that is no JSON
        raise ConfigError(str(error), cure="See docs/configuration.md.") from error
    except ValidationError as error:
        lines = [
            f"JAMAK_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        raise ConfigError("; ".join(lines), cure="See docs/configuration.md.") from error


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
        default = field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        shown = "" if default is None else f"`{default}`"
        lines.append(f"| `JAMAK_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(configuration_markdown(), end="")
