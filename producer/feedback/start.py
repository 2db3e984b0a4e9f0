"""The version that a run goes on from. What cannot be read is not taken for nothing."""

from producer.feedback.rules import Rule
from shared.bucket.registry import Registry
from shared.errors import JamakError, UsageError
from shared.messages import ModelIdentity
from shared.settings import Settings


class OnTrial(UsageError):
    """What a run makes could not be put to use, for one adapter is tried at a time."""


def start_of(rule: Rule, settings: Settings, registry: Registry) -> str | None:
    """None: the base model.

    Raises:
        OnTrial: of this model's adapters one is on trial.
        UsageError: several are in use, and the rule names none; or the one that it names is none,
            or another model's.
        Missing, Forbidden, DamagedObject, NewerObject, TooLarge: what is in use is not known.
    """
    unread: list[JamakError] = []
    pointers = registry.pointers(unread.append)
    if unread:
        raise unread[0]

    def ours(base: ModelIdentity) -> bool:
        return (base.id, base.revision) == (settings.model, settings.model_revision)

    used = set()
    for base, pointer in pointers.items():
        tried = pointer.canary.version if pointer.canary else None
        some = pointer.version or tried
        if some is None or not ours(registry.manifest(base, some).base):
            continue
        if tried is not None:
            raise OnTrial(
                f"{tried} is on trial, and what a run makes could not be put to use meanwhile",
                cure="`jamak adapters promote` or `jamak adapters rollback` ends it.",
            )
        if pointer.version is not None:
            used.add(pointer.version)
    if rule.train.start == "base":
        return None
    if rule.train.start != "active":
        named = registry.find(rule.train.start)
        if not ours(named.base):
            raise UsageError(
                f"{named.version} is an adapter of {named.base.id} (revision "
                f"{named.base.revision})",
                cure="Name one of this model: `jamak adapters list` shows them.",
            )
        return named.version
    if len(used) > 1:
        raise UsageError(
            f"the rule {rule.name} goes on from the adapter in use, and there are several: "
            f"{', '.join(sorted(used))}",
            cure="Name one in the rule: `from: VERSION`.",
        )
    return used.pop() if used else None
