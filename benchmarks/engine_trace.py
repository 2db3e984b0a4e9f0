"""Rows over time: which caption stood in which row at which step of the engine, as an SVG.

The trace is a real one: the demo model captions films, and each request notes the steps at which
the engine asked whether it is still wanted.
"""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.engine_work import DEMO, films
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request
from workers.caption.engine.sampling import Sampling
from workers.model.loading import load_model

FILMS, ROWS, CHUNK = 24, 6, 64
"""Small chunks, so that a prompt can be seen to take several steps."""
WIDTH, LANE, GAP, LEFT, TOP = 900, 22, 6, 64, 34
COLOURS = ("#2f6f9f", "#b8562f", "#3f8f5f", "#8a5a9f", "#9f8a2f", "#2f8f8f")
STYLE = "font-family='sans-serif' font-size='12' fill='#555'"


@dataclass
class Stay:
    """Of one caption in the engine."""

    steps: list[int] = field(default_factory=list)
    """Those that it was in a row, or its prompt on the way into one."""
    tokens: int = 0

    @property
    def start(self) -> int:
        """The step that let it in; it was asked from the next one on."""
        return self.steps[0] - 1

    @property
    def decodes(self) -> int:
        """The step after the one that ended its prompt."""
        return self.end - self.tokens

    @property
    def end(self) -> int:
        """The step after the one in which its last token was read."""
        return self.steps[-1] + 1


def traced() -> tuple[list[Stay], int]:
    """What happened, and the number of steps."""
    loaded = load_model(DEMO, model_id="jamak-demo")
    work = films(loaded, FILMS)
    step = 0

    def turned(rows: int, tokens: int) -> None:
        nonlocal step
        step += 1

    positions = max(len(one.ids) + one.new_tokens for one in work)
    engine = Engine(loaded, Size(rows=ROWS, positions=positions, chunk=CHUNK), on_turn=turned)
    stays, tickets = [Stay() for _ in work], []
    for one, stay in zip(work, stays, strict=True):

        def tick(runs: bool, stay: Stay = stay) -> None:
            if runs:
                stay.steps.append(step)

        pixels = loaded.preprocessor(one.frames)
        samplings = (Sampling(one.new_tokens),)
        tickets.append(engine.submit(Request(one.ids, pixels, samplings=samplings, tick=tick)))
    for ticket, stay in zip(tickets, stays, strict=True):
        stay.tokens = len(ticket.result()[0].tokens)
    engine.close()
    return stays, step


def lanes_of(stays: list[Stay]) -> list[list[Stay]]:
    """Row -> its captions, one after the other."""
    lanes: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda one: one.start):
        free = (lane for lane in lanes if lane[-1].end <= stay.start)
        if (lane := next(free, None)) is None:
            lanes.append(lane := [])
        lane.append(stay)
    return lanes


def draw(path: Path) -> None:
    stays, steps = traced()
    lanes = lanes_of(stays)
    scale = (WIDTH - LEFT - 10) / steps
    height = TOP + len(lanes) * (LANE + GAP) + 34
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' "
        f"width='{WIDTH}' height='{height}'>",
        f"<rect width='{WIDTH}' height='{height}' fill='#fff'/>",
        f"<text x='{LEFT}' y='20' {STYLE}>{len(stays)} captions in {len(lanes)} rows: "
        "pale = its frames and prompt, full = a token at every step</text>",
    ]
    number = 0
    for place, lane in enumerate(lanes):
        y = TOP + place * (LANE + GAP)
        lines.append(f"<text x='10' y='{y + 15}' {STYLE}>row {place}</text>")
        for stay in lane:
            colour = COLOURS[number % len(COLOURS)]
            number += 1
            spans = ((stay.start, stay.decodes, 0.3), (stay.decodes, stay.end, 1))
            for start, end, opacity in spans:
                lines.append(
                    f"<rect x='{LEFT + start * scale:.1f}' y='{y}' height='{LANE}' "
                    f"width='{max(0, end - start) * scale:.1f}' "
                    f"fill='{colour}' opacity='{opacity}'/>"
                )
    bottom = height - 12
    lines.append(f"<text x='{LEFT}' y='{bottom}' {STYLE}>step 0</text>")
    lines.append(
        f"<text x='{WIDTH - 10}' y='{bottom}' text-anchor='end' {STYLE}>step {steps}</text>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "</svg>", ""]))
    print(path)
