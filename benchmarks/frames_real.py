"""The second corpus of benchmarks.frames: groups of pictures as the world's encoders lay them.

How much of a video need not be decoded is decided by its encoder. Telephones and cameras write no
B frames and a keyframe a second; what is uploaded to be watched is made by x264's presets, with
three and more; a recorded screen hardly changes between keyframes that lie far apart. Contents are
drawn, as in the first corpus; keyframes, B frames, references, bit rates and containers are as:

- telephone: one reference, no B frames, a keyframe a second, 17 Mbit/s at 1080p and 48 in 4K;
- web: x264's presets veryfast, medium and slow as they are (3 B frames, a pyramid of them, up to 5
  references, 250 frames a group); `stream` as for live streams and HLS, a keyframe in two seconds;
- screen: 15 frames a second, preset medium, ten seconds a group, lines that scroll now and then;
- camera: a transport stream of 25 frames a second, no B frames, a keyframe in two seconds;
- camcorder: AVCHD: a transport stream, two B frames, a keyframe in half a second.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.frames_corpus import (
    FULL_HD,
    HD,
    UHD,
    Case,
    Drawing,
    Picture,
    pictures,
    texture,
)

HARDWARE = {"preset": "veryfast", "bf": "0", "refs": "1", "sc_threshold": "0"}
CAMCORDER = {"preset": "veryfast", "bf": "2", "refs": "2", "sc_threshold": "0", "g": "12"}


def cases() -> list[Case]:
    def real(
        name: str,
        size: tuple[int, int],
        seconds: float,
        options: dict[str, str],
        ending: str = ".mp4",
        fps: int = 30,
        draw: Drawing = pictures,
    ) -> Case:
        return Case(
            name, "h264", "libx264", size, seconds, options, ending, fps, False, "real", draw
        )

    web = {"crf": "23"}
    return [
        real("telephone-1080p", FULL_HD, 20, {**HARDWARE, "g": "30", "b": "17M", "maxrate": "20M"}),
        real("telephone-4k", UHD, 8, {**HARDWARE, "g": "30", "b": "48M", "maxrate": "55M"}),
        real("web-veryfast-1080p", FULL_HD, 30, {**web, "preset": "veryfast"}),
        real("web-medium-1080p", FULL_HD, 30, {**web, "preset": "medium"}),
        real("web-slow-720p", HD, 60, {**web, "preset": "slow"}),
        real("stream-720p", HD, 60, {"preset": "veryfast", "b": "3M", "g": "60"}),
        real("screen-1080p", FULL_HD, 120, {**web, "preset": "medium", "g": "150"}, fps=15,
             draw=screen),
        real("camera-1080p", FULL_HD, 30, {**HARDWARE, "g": "50", "b": "4M"}, ".ts", 25),
        real("camcorder-1080p", FULL_HD, 20, {**CAMCORDER, "b": "17M"}, ".ts", 25),
    ]  # fmt: skip


def screen(size: tuple[int, int], frames: int) -> Iterator[Picture]:
    """A page of text that scrolls for a second in eight, with a pointer that moves at times; planar
    YUV 4:2:0."""
    width, height = size
    dice = np.random.default_rng(2026)
    page = np.full((height * 3, width), 235, np.uint8)
    for top in range(8, len(page) - 20, 28):
        for left in range(80, int(dice.integers(width // 2, width - 80)), 14):
            page[top : top + 16, left : left + 10] = dice.choice([40, 235], (16, 10), p=[0.4, 0.6])
    photograph = texture(dice, (height // 3, width // 3))
    page[height // 2 : height // 2 + height // 3, 100 : 100 + width // 3] = photograph
    scrolled = 0
    for number in range(frames):
        scrolled += 12 * (number // 15 % 8 == 7)
        shown = np.roll(page, -scrolled, axis=0)[:height].copy()
        if number // 15 % 3:
            x, y = number * 9 % (width - 24), number * 5 % (height - 24)
            shown[y : y + 24, x : x + 16] = 16
        grey = np.full((height // 2, width), 128, np.uint8)
        yield np.concatenate([shown, grey])
