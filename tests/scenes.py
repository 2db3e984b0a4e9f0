"""Any scene at all, for tests that hold for every one."""

from hypothesis import strategies as st

from infra.demo.scenes import COLOURS, KINDS, Scene, Vocabulary, sample_scenes

EVERYTHING = Vocabulary(COLOURS)


def _one(kind, seed, split) -> Scene:  # type: ignore[no-untyped-def]
    (scene,) = sample_scenes(1, seed, split=split, kind=kind, vocabulary=EVERYTHING)
    return scene


scenes = st.builds(
    _one, st.sampled_from(KINDS), st.integers(0, 2**32), st.sampled_from(("train", "heldout"))
)
