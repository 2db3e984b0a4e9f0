"""`jamak adapters gate`: what a policy says of a version, without doing it."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from producer.verbs import completion
from producer.verbs.console import AsJson, out, print_json
from shared.bucket.registry import Registry
from shared.bucket.reports import Reports
from shared.bucket.storage import ObjectStore
from shared.errors import ConfigError, Missing
from shared.judged import Judged
from shared.language import spoken
from shared.policy import Policy, objections, read_policy, why_not_against
from shared.settings import load_settings
from shared.training import Pointer


def adapters_gate(
    version: Annotated[
        str, typer.Argument(help="Or the start of it.", autocompletion=completion.adapters)
    ],
    draft: Annotated[
        Path | None,
        typer.Option("--policy", exists=True, dir_okay=False, help="Instead of the bucket's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What the policy would do with a version, and why; nothing moves. 1 = nothing of it."""
    settings = load_settings()
    store = ObjectStore(outputs=settings.all_outputs)
    registry = Registry(store, settings.output_bucket, settings.output_prefix)
    reports = Reports(store, settings.output_bucket, settings.output_prefix)
    policy = reports.policy() if draft is None else read_policy(draft.read_bytes(), str(draft))
    if policy is None:
        raise ConfigError(
            f"there is no policy: s3://{settings.output_bucket}/{settings.output_prefix}adapters/"
            "policy.yaml",
            cure="Write one (docs/judge.md), or name a draft with --policy.",
        )
    manifest = registry.find(version)
    base = manifest.base.weights_sha256
    judged = reports.find(base, manifest.version)
    if judged is None:
        raise Missing(
            f"adapter {manifest.version} was not judged",
            cure=f"`jamak eval --adapter {manifest.version} --data DATA --keep` judges it.",
        )
    pointer = registry.pointer(base)
    would, reasons = decided(policy, judged, manifest.version, pointer)
    if as_json:
        print_json(
            {
                "version": manifest.version,
                "would": would,
                "share": policy.canary if would == "canary" else None,
                "reasons": reasons,
                "judged_against": judged.against,
                "in_use": pointer.version,
                "judged_at": judged.created_at.isoformat(),
            }
        )
    else:
        out.print(spoken(said_of(would, policy, manifest.version)), highlight=False)
        for reason in reasons:
            out.print(f"  {escape(spoken(reason))}", highlight=False)
    if reasons:
        raise typer.Exit(1)


def decided(
    policy: Policy, judged: Judged, version: str, pointer: Pointer
) -> tuple[Literal["nothing", "canary", "activate"], list[str]]:
    """What would be done with a version that was judged so, and why nothing."""
    reasons = objections(policy, judged)
    if other := why_not_against(judged, pointer.version):
        reasons.append(other)
    if version == pointer.version:
        reasons.append("it is in use already")
    elif pointer.canary is not None:
        reasons.append(f"adapter {pointer.canary.version} is on trial")
    return "nothing" if reasons else "canary" if policy.canary else "activate", reasons


def said_of(would: str, policy: Policy, version: str) -> str:
    if would == "canary":
        share = f"{100 * (policy.canary or 0):g}"
        return f"adapter {version} passes: it would go on trial with {share} % of the captions"
    if would == "activate":
        return f"adapter {version} passes: it would be put to use"
    return f"adapter {version} does not pass:"
