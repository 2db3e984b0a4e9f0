"""`jamak demo`: the whole system on this machine, once, before your eyes."""

import os
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.demo.budgets import Budgeted, show_budgets
from infra.demo.guards import Guarded, guard, judging
from infra.demo.lesson import demo_takes
from infra.demo.screening import Screening, Told
from infra.demo.steps import DemoFailed, Steps
from infra.demo.tables import budgets_table, captions_table, guarded_table, lesson_table
from infra.demo.teaching import Proof, prove, right_share, teach
from infra.local.signals import stop_in_order
from infra.local.stack import LocalStack
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.cards import GPU_CLASSES
from shared.console import AsJson, err, out, print_json
from shared.settings import load_settings

GpuClass = StrEnum("GpuClass", {name: name for name in GPU_CLASSES})  # typer needs an enum

KEPT = """
It keeps running until Ctrl-C. In another terminal, for example:

  source {env}
  jamak upload YOUR.mp4 s3://{bucket}/
  jamak show s3://{bucket}/YOUR.mp4
  jamak status
"""


def demo(
    videos: Annotated[int, typer.Option(min=1, help="How many films to caption.")] = 8,
    no_train: Annotated[bool, typer.Option("--no-train", help="Leave the lesson out.")] = False,
    card: Annotated[
        GpuClass | None,
        typer.Option(help="Caption with this card class's budget, and show the classes below it."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """All of Jamak on this machine: films in, captions out, an adapter learnt and rolled back."""
    stop_in_order()
    started = time.monotonic()
    console = err if as_json else out
    steps = Steps(console)
    with ExitStack() as running:
        with steps.step("starting Redis, S3 and the processes of the Procfile"):
            emulated = {"JAMAK_CARD": card.value} if card else {}
            stack = running.enter_context(LocalStack(extra_env=emulated))
        # From here on this process is a user of the stack like any other.
        os.environ.clear()
        os.environ.update(stack.environ)
        settings, store = load_settings(), ObjectStore()
        screening = Screening(stack, settings, store)
        told = caption_films(steps, stack, screening, videos)
        console.print(captions_table(told))
        lie_at = f"{stack.output}captions/{stack.videos_bucket}/"
        console.print(
            f"Each lies in the bucket, for example {lie_at}{told[0].key}.json, .vtt and .srt",
            highlight=False,
        )
        failed = sum(one.failed for one in told)
        if failed:
            raise DemoFailed(
                f"captioning: {failed} films got no caption",
                told=as_result(told, [], None, None, time.monotonic() - started),
            )
        budgets: list[Budgeted] = []
        if card:
            budgets = show_budgets(steps, stack, screening, card.value)
            console.print(budgets_table(budgets))
        proof = guarded = None
        if not no_train:
            registry = Registry(store, settings.output_bucket, settings.output_prefix)
            lesson = teach(steps, stack, screening, registry)
            bad = stack.directory / "bad"
            with judging(screening, registry, lesson, bad / "refused") as judged:
                proof = prove(steps, screening, lesson)
                console.print(lesson_table(proof))
                films = [*told, *proof.rolled_back]
                guarded = guard(steps, screening, registry, judged, lesson, films, bad / "tried")
            console.print(guarded_table(guarded))
        if keep:
            env = stack.directory / "env.sh"
            path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
            env.write_text(f"{stack.exports()}\n{path}\n", encoding="utf-8")
            err.print(
                KEPT.format(env=env, bucket=stack.videos_bucket), highlight=False, soft_wrap=True
            )
        else:
            with steps.step("stopping everything"):
                running.close()
        if as_json:
            print_json(as_result(told, budgets, proof, guarded, time.monotonic() - started))
        if keep:
            stack.wait()


def caption_films(steps: Steps, stack: LocalStack, screening: Screening, n: int) -> list[Told]:
    folder = stack.directory / "films"
    folder.mkdir()
    takes = demo_takes(n)
    with steps.step("filming", n) as step:
        paths = screening.film(takes, folder, step.advance)
    with steps.step("uploading and captioning", n) as step:
        return screening.captions(screening.show(takes, paths, "demo/"), step.advance)


def as_result(
    told: list[Told],
    budgets: list[Budgeted],
    proof: Proof | None,
    guarded: Guarded | None,
    seconds: float,
) -> dict[str, Any]:
    """What `--json` says; shares from 0 to 1."""
    training = proof and {
        "before": right_share(proof.lesson.before),
        "after": right_share(proof.after),
        "adapter": proof.lesson.outcome.version,
        "picked_up_s": proof.lesson.picked_up_s,
    }
    failed = sum(one.failed for one in told)
    return {
        "videos": len(told),
        "captioned": len(told) - failed,
        "failed": failed,
        "exact_match": right_share(told),
        "seconds": round(seconds, 1),
        "captions": [
            {
                "key": one.key,
                "caption": one.caption,
                "reference": one.reference,
                "status": one.status,
                "adapter": one.adapter,
                "latency_s": one.latency_s,
            }
            for one in told
        ],
        "budgets": [
            {
                "card": one.card.name,
                "frames": one.told.frames,
                "visual_tokens": one.told.visual_tokens,
                "caption": one.told.caption,
                "reference": one.told.reference,
                "latency_s": one.told.worker_s,
            }
            for one in budgets
        ],
        "training": training,
        "guarded": guarded and asdict(guarded),
    }
