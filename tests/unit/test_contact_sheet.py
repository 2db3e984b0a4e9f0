"""What is written on a sheet has room, however few and small its pictures are."""

import numpy as np
import pytest
from PIL import ImageDraw, ImageFont

from workers.video.contact_sheet import GAP, contact_sheet
from workers.video.process import VideoInfo
from workers.video.sampling import Sample


@pytest.mark.parametrize("name", ["one.mp4", "with a long name " * 20 + ".mp4", "x" * 300])
@pytest.mark.parametrize(("frames", "size"), [(1, 64), (1, 320), (3, 16), (9, 200)])
def test_whatever_is_written_on_a_sheet_can_be_read(
    monkeypatch: pytest.MonkeyPatch, name: str, frames: int, size: int
) -> None:
    written: list[tuple[float, float, float, str]] = []
    font = ImageFont.load_default(13)

    def text(self: ImageDraw.ImageDraw, at: tuple[float, float], words: str, *_: object) -> None:
        written.append((at[0], at[0] + font.getlength(words), at[1], words))

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    times = tuple(float(number) for number in range(frames))
    sample = Sample(
        frames=np.zeros((frames, size, size, 3), np.uint8),
        timestamps_s=times,
        targets_s=times,
        exact=(True,) * frames,
        duration_s=10_000.0,
        requested=frames,
        distinct=frames,
        decode_errors=0,
        frames_decoded=frames,
        groups_s=((0.0, 0.0),),
    )
    info = VideoInfo(duration_s=10_000.0, frames=frames, width=size, height=size, codec="h264")
    sheet = contact_sheet(name, info, sample)
    everything = "".join(words for *_, words in written)
    assert "".join(name.split()) in "".join(everything.split())
    for left, right, top, _ in written:
        assert left >= GAP - 0.1
        assert right <= sheet.width
        assert top + 13 <= sheet.height
    # Nothing is written over something else.
    for one, (left, right, top, _) in enumerate(written):
        for other_left, other_right, other_top, _ in written[:one]:
            assert top != other_top or left >= other_right or other_left >= right
