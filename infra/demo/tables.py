"""What the demo shows of what it did."""

from rich.markup import escape
from rich.table import Column

from infra.demo.budgets import Budgeted
from infra.demo.guards import Guarded
from infra.demo.screening import Told
from infra.demo.teaching import Proof, right_share
from shared.console import Grid

MARK = {True: "[green]✓[/green]", False: "[red]✗[/red]"}


def captions_table(told: list[Told]) -> Grid:
    table = Grid("video", _text("caption"), _text("reference"), "ok", "seconds", show_lines=True)
    for one in told:
        table.add_row(
            one.key,
            escape(one.caption),
            escape(one.reference),
            MARK[one.right],
            f"{one.latency_s:.1f}",
        )
    return table


def budgets_table(budgets: list[Budgeted]) -> Grid:
    table = Grid(
        "class",
        "frames",
        "visual tokens\n(of a 7B model)",
        _text("caption"),
        "ok",
        "seconds\n(worker)",
        show_lines=True,
        title="one film, with the budget of each card class",
        caption=budgets[0].told.reference,
    )
    for one in budgets:
        table.add_row(
            one.card.name,
            str(one.told.frames),
            f"{one.told.visual_tokens} ({one.card.visual_tokens:,})",
            escape(one.told.caption),
            MARK[one.told.right],
            f"{one.told.worker_s:.2f}",
        )
    return table


def lesson_table(proof: Proof) -> Grid:
    lesson = proof.lesson
    metrics = lesson.outcome.metrics
    table = Grid(
        "video",
        _text("before"),
        _text(f"with adapter {lesson.outcome.version}"),
        _text("rolled back"),
        show_lines=True,
        title="the lesson: 보라색 (purple)",
        caption=f"right: {right_share(lesson.before):.0%} → {right_share(proof.after):.0%} → "
        f"{right_share(proof.rolled_back):.0%}; on the held-out films of the training set "
        f"{metrics['exact_before']:.0%} → {metrics['exact_after']:.0%}; "
        f"trained in {lesson.outcome.seconds:.0f} s, "
        f"picked up within {lesson.picked_up_s:.1f} s",
    )
    rows = zip(lesson.before, proof.after, proof.rolled_back, strict=True)
    for before, after, rolled_back in rows:
        said = [f"{MARK[one.right]} {escape(one.caption)}" for one in (before, after, rolled_back)]
        table.add_row(before.key, *said)
    return table


def guarded_table(guarded: Guarded) -> Grid:
    table = Grid(
        "adapter", "what became of it", _text("why"), show_lines=True, title="two bad adapters"
    )
    first, *others = guarded.reasons
    more = f"; and {len(others)} reasons more" if others else ""
    table.add_row(guarded.refused, "refused by the gate", escape(first + more))
    ended = f"rolled back by the canary after {guarded.seconds:.0f} s"
    seen = f"{guarded.published} of {guarded.captions} captions were by it"
    table.add_row(guarded.rolled_back, ended, f"{escape(guarded.verdict)}; {seen}")
    return table


def _text(title: str) -> Column:
    """Sentences of several lines: Korean may be cut between any two syllables."""
    return Column(title, ratio=1)
