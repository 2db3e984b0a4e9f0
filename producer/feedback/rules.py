"""Rules: how much feedback starts which training. A file in YAML, the same for all who watch.

    rules:
      - name: habits
        when: {preferences: 200, hours: 24}
        train: {stage: dpo, from: active, steps: 200}

Everything in it is checked before anything is done by it; a word that nobody knows is refused.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from producer.feedback.rows import LEARNS
from shared.errors import BadData, ConfigError
from shared.feedback import Kind
from shared.messages import digest
from shared.settings import Settings
from shared.stages import check_job
from shared.training import TrainJob
from shared.training_defaults import completed
from shared.yaml_text import fault_of, read_yaml, unknown_word

MOST_BYTES = 64 << 10
MOST_HOURS = 10 * 365 * 24
SET_BY_US = ("v", "id", "stage", "data", "model", "revision", "prompt", "start_from", "skip_unfit")
"""Fields of a job that are no options of a rule."""
Least = Annotated[int, Field(ge=1, le=1_000_000)]
KINDS: dict[str, Kind] = {
    "preferences": "preference",
    "thumbs": "thumb",
    "corrections": "correction",
}
"""What a rule counts, as it says it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def sha256(self) -> str:
        """Of what it says."""
        return digest(self.model_dump(mode="json"))


class When(_Part):
    """All of it must hold."""

    preferences: Least | None = None
    """So many that no earlier run of this rule has learned from."""
    thumbs: Least | None = None
    corrections: Least | None = None
    hours: Annotated[float, Field(ge=0, le=MOST_HOURS)] = 0.0
    """Since the last run of this rule began."""

    @property
    def least(self) -> dict[Kind, int]:
        return {kind: least for name, kind in KINDS.items() if (least := getattr(self, name))}

    @model_validator(mode="after")
    def _something_is_counted(self) -> Self:
        if not self.least:
            raise _error(f"it counts nothing: name one of {', '.join(KINDS)}")
        return self


class Train(BaseModel):
    """What is asked of the job: its stage, and any option of `TrainJob`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stage: Literal["sft", "dpo", "kto"]
    start: Annotated[str, Field(alias="from", pattern=r"^(active|base|[0-9a-f]{12})$")] = "active"
    """The adapter in use, the base model, or a version."""

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Rule(_Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    when: When
    train: Train

    @model_validator(mode="after")
    def _its_stage_learns_from_it(self) -> Self:
        stage, named = self.train.stage, {kind: name for name, kind in KINDS.items()}
        for kind in self.when.least:
            if kind not in LEARNS[stage]:
                able = " and ".join(named[one] for one in LEARNS[stage])
                raise _error(
                    f"the stage {stage} learns nothing from {named[kind]}: it counts {able}"
                )
        return self

    def job(self, settings: Settings, job_id: str, data: str, start_from: str | None) -> TrainJob:
        """What is sent.

        Raises:
            BadData: what it asks for does not go together.
        """
        asked = {**self.train.options, "start_from": start_from}
        if start_from is None and asked.get("replay") is None:
            asked["replay_share"] = 0.0  # a rule that begins at the base has nothing to replay yet
        job = TrainJob(
            id=job_id,
            data=data,
            model=settings.model,
            revision=settings.model_revision,
            prompt=settings.prompt,
            skip_unfit=True,  # or one long correction would fail every later run
            **completed(self.train.stage, asked),
        )
        check_job(job)
        return job


class Rules(_Part):
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _each_has_a_name_of_its_own(self) -> Self:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise _error(f"two rules are called {name}: what each has done goes by its name")
        return self


def read_rules(body: bytes, name: str, settings: Settings) -> Rules:
    """Args:
        name: of the file; errors name it.

    Raises:
        ConfigError: they are none, with the place and the cure.
    """
    told = read_yaml(body, name, CURE)
    try:
        rules = Rules.model_validate(told)
        for number, rule in enumerate(rules.rules):
            _check_options(rule, f"rules.{number}.train")
            for start in (None, "0" * 12):
                rule.job(settings, "a-rule", "s3://b/k", start)
    except ValidationError as error:
        raise ConfigError(f"{name}: {fault_of(error, WORDS)}", cure=CURE) from error
    except _Misspelt as error:
        raise ConfigError(f"{name}: {error}", cure=CURE) from error
    except BadData as error:
        raise ConfigError(f"{name}: {error}", cure=error.cure) from error
    return rules


WORDS = [*Rules.model_fields, *Rule.model_fields, *When.model_fields]
CURE = "docs/loop.md shows a file of rules; `jamak retrain --dry-run --rules FILE` reads one."


class _Misspelt(Exception):
    pass


def _check_options(rule: Rule, where: str) -> None:
    known = [one for one in TrainJob.model_fields if one not in SET_BY_US]
    for name in rule.train.options:
        if name not in known:
            raise _Misspelt(unknown_word(f"{where}.{name}", name, known))


def _error(told: str) -> PydanticCustomError:
    return PydanticCustomError("rules", "{told}", {"told": told})
