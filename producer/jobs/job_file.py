"""A training job in a file, YAML or JSON: the options of `jamak train STAGE`, by the names that a
job is recorded with.

    stage: dpo
    data: s3://my-data/pairs.jsonl
    from: 3f2a91c07d44
    steps: 200
"""

from pydantic import ValidationError

from shared.bucket.keys import parse_uri
from shared.errors import BadData, ConfigError, UsageError
from shared.settings import Settings
from shared.stages import check_job
from shared.training import TrainJob
from shared.training_defaults import STAGES, completed
from shared.yaml_text import fault_of, read_yaml, unknown_word

NEW = ("v", "id")
"""Of a job that was recorded: the one that is sent is another one."""
FROM = "from"
KNOWN = [FROM, *TrainJob.model_fields]
CURE = "docs/training.md shows such a file."


def read_job(body: bytes, name: str, settings: Settings, job_id: str) -> TrainJob:
    """Args:
        name: of the file; errors name it.
        settings: whose model and prompt it is about, where it names none.

    Raises:
        UsageError: it is no job, or asks for what does not go together.
    """
    try:
        told = read_yaml(body, name, CURE)
    except ConfigError as error:
        raise UsageError(str(error), cure=error.cure) from error
    if not isinstance(told, dict):
        raise UsageError(f"{name} holds no names with values", cure=CURE)
    asked = {str(field): value for field, value in told.items() if field not in NEW}
    for field in asked:
        if field not in KNOWN:
            raise UsageError(f"{name}: {unknown_word(field, field, KNOWN)}", cure=CURE)
    if FROM in asked:
        asked["start_from"] = asked.pop(FROM)
    stage = asked.pop("stage", None)
    if not isinstance(stage, str) or stage not in STAGES:
        raise UsageError(
            f"{name}: stage is none of {', '.join(STAGES)}", cure="Say which one it is."
        )
    defaults = {
        "model": settings.model,
        "revision": settings.model_revision,
        "prompt": settings.prompt,
    }
    try:
        job = TrainJob.model_validate({"id": job_id, **defaults, **completed(stage, asked)})
        for address in (job.data, job.replay):
            if address is not None:
                parse_uri(address)
        check_job(job)
    except ValidationError as error:
        raise UsageError(f"{name}: {fault_of(error, KNOWN)}", cure=CURE) from error
    except BadData as error:
        raise UsageError(f"{name}: {error}", cure=error.cure) from error
    return job
