"""The version that a run goes on from. What cannot be read is not taken for nothing."""

from producer.feedback.rules import Rule
from shared.bucket.registry import Registry
from shared.errors import JamakError, UsageError
from shared.settings import Settings


def start_of(rule: Rule, settings: Settings, registry: Registry) -> str | None:
    """None: the base model.

    Raises:
        UsageError: several are in use, and the rule names none; or the one that it names is none.
        Missing, Forbidden, DamagedObject, NewerObject, TooLarge: what is in use is not known.
    """
    if rule.train.start == "base":
        return None
    if rule.train.start != "active":
        return registry.find(rule.train.start).version
    unread: list[JamakError] = []
    pointers = registry.pointers(unread.append)
    if unread:
        raise unread[0]
    used = set()
    for base, pointer in pointers.items():
        if pointer.version is not None:
            made_of = registry.manifest(base, pointer.version).base
            if (made_of.id, made_of.revision) == (settings.model, settings.model_revision):
                used.add(pointer.version)
    if len(used) > 1:
        raise UsageError(
            f"the rule {rule.name} goes on from the adapter in use, and there are several: "
            f"{', '.join(sorted(used))}",
            cure="Name one in the rule: `from: VERSION`.",
        )
    return used.pop() if used else None
