"""When an adapter may go into use: a policy file, and what it says of a judge's report.

    target: chrf            # what has to get better,
    rise: 0.5               # by more than this,
    confidence: 95          # in so many of 100 resampled sets
    margins:                # by how much the others may get worse; null = it is not looked at
      hallucinated: 0.02
      logp: 0.2
    videos: 20              # held out, at least
    forgetting:             # a set of what it could do before
      data: s3://bucket/known/manifest.jsonl
      margins: {chrf: 0.5}
    canary: 10%             # what passes gets this share first; `false`: all of it at once

Every key may be left out. Knows nothing of where files lie, nor of what moves the pointer.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from shared.errors import ConfigError
from shared.judged import FORGETTING, HELD_OUT, PRIMARY, Figure, Judged, JudgedSet
from shared.yaml_text import fault_of, read_yaml, unknown_word

MARGINS: dict[str, float] = {
    "chrf": 0.5,
    "bleu": 1.0,
    "cider": 0.2,
    "hallucinated": 0.02,
    "attributes": 0.02,
    "exact": 0.02,
    "hangul": 0.01,
    "repetitive": 0.01,
    "empty": 0.005,
    "cut": 0.01,
    "length": 0.15,
    "logp": 0.2,
}
"""In the unit of each figure, where a policy names no other; shares are from 0 to 1. `length` may
go so much away from the reference's. `logp` in nats a token: who loses more tells worse captions
apart, and is on its way to say nothing sensible."""
SHARE = 0.02
"""Of a share that is named nowhere, such as one of another package. What such a figure is otherwise
counted in nobody knows here, so that is looked at only if a policy names it."""
ALWAYS = frozenset({"logp"})
"""A model is asked for it in each report. One that gives no number is broken, and not unasked."""
MOST_BYTES = 64 << 10
MOST_SHARE = 0.5
"""Of a canary: with more it would be the rule, and not the exception."""

Margin = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)] | None


def _share(given: Any) -> Any:
    """`10%`, 0.1, or nothing."""
    if given is False:
        return None
    if isinstance(given, str) and given.endswith("%"):
        try:
            return float(given[:-1]) / 100
        except ValueError:
            return given
    return given


class _Part(BaseModel):
    # A misspelt key would otherwise let pass what it was to stop.
    model_config = ConfigDict(frozen=True, extra="forbid")


class Forgetting(_Part):
    data: str
    """`s3://bucket/manifest.jsonl`, or a file: all of its rows that are held out, or else all."""
    margins: dict[str, Margin] = {}


class Policy(_Part):
    target: str = PRIMARY
    rise: Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)] = 0.0
    confidence: Annotated[int, Strict(), Field(ge=50, le=99)] = 95
    margins: dict[str, Margin] = {}
    videos: Annotated[int, Strict(), Field(ge=1)] = 8
    forgetting: Forgetting | None = None
    canary: Annotated[
        Annotated[float, Field(gt=0, le=MOST_SHARE)] | None, BeforeValidator(_share)
    ] = 0.1


def read_policy(body: bytes, name: str) -> Policy:
    """Raises ConfigError: naming the file, the key, and what to do about it."""
    found = read_yaml(body, name, "Correct it there.")
    if not isinstance(found, dict | None):
        raise ConfigError(f"{name} is no policy", cure="Write `key: value` lines (docs/judge.md).")
    if "canary" in (told := found or {}) and told["canary"] is None:
        raise ConfigError(
            f"{name}: canary: it says nothing",
            cure="Write a share, such as 10%, or `false` for none; or leave the line out.",
        )
    try:
        policy = Policy.model_validate(told)
    except ValidationError as error:
        words = [*Policy.model_fields, *Forgetting.model_fields]
        raise ConfigError(
            f"{name}: {fault_of(error, words)}", cure="docs/judge.md lists what a policy may say."
        ) from error
    _check_measures(policy, name)
    return policy


def _check_measures(policy: Policy, name: str) -> None:
    """Workers may have measures of other packages, whose names nobody here knows: only what is a
    slip of one that all have is refused."""
    forgetting = policy.forgetting.margins if policy.forgetting else {}
    for where, words in (
        ("target", [policy.target]),
        ("margins", [*policy.margins]),
        ("forgetting.margins", [*forgetting]),
    ):
        for word in words:
            meant = next((one for one in MARGINS if _is_slip(word, one)), None)
            if word not in MARGINS and meant is not None:
                raise ConfigError(
                    f"{name}: {unknown_word(where, word.casefold(), [meant])}",
                    cure="docs/judge.md lists the measures.",
                )


def _is_slip(word: str, meant: str) -> bool:
    """In large letters, of two letters the second one first, or one too few in a long word:
    `BLEU`, `chfr`, `halucinated`; but `cer`, `bleurt` and `chrf2` are measures."""
    said = word.casefold()
    swapped = {
        meant[:at] + meant[at + 1] + meant[at] + meant[at + 2 :] for at in range(len(meant) - 1)
    }
    shorter = {meant[:at] + meant[at + 1 :] for at in range(len(meant))} if len(meant) > 5 else ()
    return said == meant or said in swapped or said in shorter


def objections(policy: Policy, judged: Judged) -> list[str]:
    """Why an adapter that was judged so may not go into use; none = it may."""
    held_out = judged.of(HELD_OUT)
    if held_out is None:
        return ["nothing was held out"]
    if not judged.compared:
        return ["it was compared with nothing"]
    found = []
    if held_out.videos < policy.videos:
        found.append(f"{held_out.videos} videos were held out; the policy wants {policy.videos}")
    found += _target(policy, held_out)
    others = {name: margin for name, margin in policy.margins.items() if name != policy.target}
    found += _fallen(held_out, {**others, policy.target: None})
    if policy.forgetting is not None:
        known = judged.of(FORGETTING)
        if known is None:
            found.append("what it could do before was not judged")
        elif known.data != policy.forgetting.data:
            found.append(_another_set(known.data, policy.forgetting.data))
        else:
            found += [f"forgetting: {one}" for one in _fallen(known, policy.forgetting.margins)]
    return found


def why_not_against(judged: Judged, in_use: str | None) -> str | None:
    """Why a report says nothing of what is in use; None = it does.

    Args:
        in_use: version; None = the base model.
    """
    if not judged.compared or judged.against == in_use:
        return None
    names = [name or "the base model" for name in (judged.against, in_use)]
    return f"it was judged against {names[0]}, but {names[1]} is in use: judge it again"


def _another_set(judged: str, wanted: str) -> str:
    return f"what it could do before was judged by {judged}, and the policy names {wanted}"


def _target(policy: Policy, judged: JudgedSet) -> list[str]:
    figure = judged.figures.get(policy.target)
    if figure is None or figure.difference is None:
        return [_untold(policy.target, judged)]
    sure = sorted(improved(figure, one) for one in figure.spread)[100 - policy.confidence]
    if sure > policy.rise:
        return []
    by = improved(figure, figure.difference)
    if by < 0:
        return [
            f"{policy.target} got worse by {_shown(figure, -by)}; it has to get better by more "
            f"than {_shown(figure, policy.rise)}"
        ]
    told = _shown(figure, by)
    return [
        f"{policy.target} got better by {told}, and with {policy.confidence} % confidence by "
        f"{_shown(figure, sure)}; it has to be more than {_shown(figure, policy.rise)}"
    ]


def _fallen(judged: JudgedSet, margins: Mapping[str, float | None]) -> list[str]:
    found = []
    shares = [name for name, one in judged.figures.items() if one.percent]
    for name, margin in {**MARGINS, **_unnamed(shares), **margins}.items():
        figure = judged.figures.get(name)
        if margin is None:
            continue
        if figure is None or figure.difference is None:
            if name in margins or name in ALWAYS or figure is not None:
                found.append(_untold(name, judged))
            continue
        worse = -improved(figure, figure.difference)
        if worse > margin:
            found.append(
                f"{name} got worse by {_shown(figure, worse)}; it may by {_shown(figure, margin)}"
            )
    return found


def _unnamed(shares: Iterable[str]) -> dict[str, float | None]:
    return {name: SHARE for name in shares if name not in MARGINS}


def improved(figure: Figure, difference: float) -> float:
    """By how much a difference of this figure makes it better; less than 0: worse."""
    if figure.better == "same":
        before = figure.value if figure.against is None else figure.against
        return abs(before - 1) - abs(before + difference - 1)
    return difference if figure.better == "higher" else -difference


def _untold(name: str, judged: JudgedSet) -> str:
    figure = judged.figures.get(name)
    if figure is None:
        why = judged.left_out.get(name) or "there is no such figure in the report"
    elif figure.against is None:
        why = "there is none of what it is compared with"
    else:
        why = "of one video nobody knows how much is chance"
    return f"{name} cannot be told: {why}"


def _shown(figure: Figure, value: float) -> str:
    return f"{100 * value:.2f} points" if figure.percent else f"{value:.3g}"
