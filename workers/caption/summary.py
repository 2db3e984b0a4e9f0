"""One caption from those of a video's segments, by the same model, without pictures.

As many at once as fit the model; of more, first one for each group.
"""

from collections.abc import Callable, Sequence

from shared.prompts import SUMMARY_PROMPT, without_marks


def summarise(texts: Sequence[str], fits: Callable[[str], bool], ask: Callable[[str], str]) -> str:
    """Args:
    texts: at least one, in their order.
    fits: whether the model takes a prompt.
    ask: its answer to one.
    """
    # What a caption quotes is no picture, and no end of the prompt.
    scenes = "\n".join(f"- {without_marks(text)}" for text in texts)
    prompt = SUMMARY_PROMPT.format(scenes=scenes)
    if len(texts) <= 2 or fits(prompt):
        return ask(prompt)
    half = len(texts) // 2
    halves = [summarise(some, fits, ask) for some in (texts[:half], texts[half:])]
    return summarise([text for text in halves if text] or texts[:1], fits, ask)
