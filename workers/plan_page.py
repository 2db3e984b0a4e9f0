"""docs/cards.md, from the planner: `python -m workers.plan_page > docs/cards.md`."""

from shared.errors import DoesNotFit
from workers.caption import card_plan as plan
from workers.caption.card_plan import Asked
from workers.caption.hosts import SMALL
from workers.caption.machines import BANDWIDTH, DEVICE_BYTES, GIB, PEAK, RESERVE
from workers.model.geometry import IN_BYTES, KNOWN, SYLLABLES, Geometry
from workers.plan import DEFAULT, cells, plans_of, usual

TITLES = {
    "vicuna-7b": "Vicuna-7B (`--model vicuna-7b`, the default model)",
    "yi-34b": "Yi-34B (`--model yi-34b`)",
    "qwen3-8b": "Qwen3-8B (`--model qwen3-8b`)",
}
HEADS = (
    *("class", "memory", "weights", "frames", "tokens", "a caption's KV", "rows", "chunk"),
    "s/caption",
)


def cards_markdown() -> str:
    lines = [PAGE]
    for name, geometry in KNOWN.items():
        lines += [f"## {TITLES[name]}", ""]
        for pool in (geometry.pool_stride, 3):
            lines += _table(geometry, pool, usual(name, pool))
    return "\n".join(lines).rstrip() + "\n"


def _table(geometry: Geometry, pool: int, asked: Asked) -> list[str]:
    lines = [
        f"{pool}x{pool} pooling, {geometry.tokens_per_frame(pool)} tokens a frame, "
        f"{asked.new_tokens} new ones:",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
    ]
    notes = []
    for card, made in plans_of(geometry, asked).items():
        if isinstance(made, DoesNotFit):
            lines.append(f"| {card} |" + " - |" * (len(HEADS) - 1))
            notes.append(f"- {card}: {made}. {made.cure}")
            continue
        lines.append(f"| {card} | {' | '.join(cells(made))} |")
        if "positions" in made.frames.why:
            notes.append(f"- {card}: {made.frames.value} frames, because {made.frames.why}.")
    return [*lines, "", *notes, *[""] * bool(notes)]


PAGE = f"""# What each card does

Generated from `workers/caption/budget.py` by `python -m workers.plan_page`; a test keeps it true.
`jamak plan` shows this for the model of your settings, `jamak plan --card l4` with the reason of
each figure, `--json` for programs. It needs no GPU and no torch.

**No figure here is measured on a card.** Memory and rows are arithmetic; the seconds are what the
card's rates allow. A worker with a GPU does not trust the arithmetic: it warms up with the largest
prompt, measures what memory is free then, and takes the rows that fit, but not more than planned.

- *frames*, *tokens*: the most of one caption. It is the least of the class's frames, its visual
  tokens, and what the model's positions leave beside {Asked().prompt_tokens} tokens of a prompt and
  those of a caption of {DEFAULT.max_syllables} syllables (`JAMAK_MAX_SYLLABLES`). A syllable takes
  up to {SYLLABLES["vicuna-7b"]:.2f} tokens with Llama's tokenizer and
  {SYLLABLES["qwen3-8b"]:.2f} with Qwen3's; a worker asks its own. Where the tokenizer is not known,
  as of Yi-34B, {IN_BYTES:g} are assumed, for syllables of three bytes and spaces; its worker plans
  with more if numbers and names take more.
- *a caption's KV*: the keys and values of one caption at its longest.
- *rows*: captions at once. Of the card's memory {100 * RESERVE:.0f} % and
  {DEVICE_BYTES / GIB:.1f} GiB are left to the allocator and the device. Then come weights,
  what a step computes with, and {plan.ADAPTERS} adapters of rank {plan.RANK}. The rest is
  divided by what a row takes: a caption at its longest and {plan.ROOM} positions more. On a GPU
  there are {plan.MOST_ROWS} at most, on a CPU {plan.CPU_ROWS}, and no more than
  {plan.CPU_KV / GIB:.0f} GiB hold.
- *chunk*: tokens of prompts in a step. Rows that decode wait about {plan.STALL_S:g} s for it at
  most, as far as {plan.CHUNKS[0]} tokens allow that.
- *s/caption*: when all rows are in use, with {plan.TYPICAL_TOKENS} new tokens. Frames and prompt
  are operations, at {100 * PEAK:.0f} % of the card's peak; a new token is bytes of weights,
  keys and values, at {100 * BANDWIDTH:.0f} % of its bandwidth, shared by the rows.

A worker has as many jobs in hand as it has rows, and {plan.AHEAD[0]} to {plan.AHEAD[1]} more,
whose videos are fetched and decoded meanwhile; `JAMAK_CONCURRENCY` sets another number. Where 2x2
pooling leaves no row, 3x3 is taken.

A worker plans with the memory that is really there: that of its card or MIG slice, as the driver
says, whatever class was named. A model that does not fit is refused before any of its weights are
fetched: Yi-34B on a T4 downloads nothing. The message names the nearest plan that can hold.

On a CPU the memory is the machine's, or the least that a container allows. A model with less than
{SMALL / GIB:.0f} GiB of weights is computed in float32. A larger one is computed in bfloat16 where
the CPU has instructions for it (`avx512_bf16`, `amx_bf16`, Arm's `bf16`), or where only so it fits:
in float32 the language model's weights are in memory twice, in the order that is fast for few rows.
In bfloat16 a caption may differ in company from what it is alone. The record says which it was
(`card.dtype`).
"""

if __name__ == "__main__":
    print(cards_markdown(), end="")
