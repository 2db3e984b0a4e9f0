"""Colours that an ordinary screen does not show are brought to those that it does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from shared.messages import Colour as Recorded
from tests.colours import (
    BT709,
    BT2020,
    COLOURS,
    GREYS,
    HDR10,
    HLG,
    P3,
    PATCH,
    PQ,
    SAID_NOTHING,
    X265,
    colour_film,
    tag,
    with_dolby,
)
from workers import cli
from workers.progress import Progress
from workers.video.colour import Colour
from workers.video.pool import DecoderPool
from workers.video.sampling import Request, Sample, sample_frames
from workers.video.shape import Shape
from workers.video.source import file_source


def seen(sample: Sample) -> list[tuple[int, ...]]:
    return [tuple(map(int, one)) for one in sample.frames[0][PATCH // 2, PATCH // 2 :: PATCH]]


@pytest.mark.parametrize(
    ("tags", "colour", "patches", "expected"),
    [
        (
            (PQ, BT2020, 9),
            Colour("pq", "bt2020", mapped=True),
            GREYS + COLOURS,
            [
                *((grey,) * 3 for grey in (0, 29, 97, 184, 217, 255, 255)),
                *((237, 0, 0), (0, 195, 0), (0, 55, 204), (209, 67, 95), (251, 204, 106)),
            ],
        ),
        (
            (HLG, BT2020, 9),
            Colour("hlg", "bt2020", mapped=True),
            GREYS,
            [(grey,) * 3 for grey in (0, 44, 102, 145, 169, 218, 255)],
        ),
        (
            (BT709, BT2020, 9),
            Colour("sdr", "bt2020", mapped=True),
            COLOURS,
            [(181, 63, 52), (0, 137, 31), (0, 70, 143), (151, 86, 97), (185, 170, 132)],
        ),
        (
            (BT709, P3, 1),
            Colour("sdr", "p3", mapped=True),
            COLOURS,
            [(166, 80, 52), (65, 132, 40), (44, 68, 141), (141, 93, 97), (180, 171, 134)],
        ),
        (
            (BT709, BT709, 1),
            None,
            COLOURS,
            [(155, 85, 60), (83, 131, 56), (50, 67, 136), (134, 95, 97), (179, 171, 138)],
        ),
    ],
)
def test_colours_are_those_of_ffmpegs_own_filters(
    tmp_path: Path,
    tags: tuple[int, int, int],
    colour: Colour | None,
    patches: list[tuple[int, int, int]],
    expected: list[tuple[int, ...]],
) -> None:
    """What ffmpeg 9.0.2 makes of the very same file: zscale=t=linear:npl=203, format=gbrpf32le,
    zscale=p=bt709, tonemap=mobius:desat=0:peak=4.92611 (of HDR), zscale=t=bt709:m=bt709:r=pc."""
    sample = sample_frames(colour_film(tmp_path / "a.mkv", patches, tags), 1)
    assert sample.colour == colour
    np.testing.assert_allclose(seen(sample), expected, atol=1)


def shown(light: Any, peak: float) -> Any:
    """Of linear BT.2020, 1 white: as the page on video says."""
    matrix = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    light = np.asarray(matrix) @ np.asarray(light)
    top, knee = light.max(), 0.3
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b**2 + 2 * b * knee + knee**2) / (b - a)
    curved = top if top <= knee else scale * (top + a) / (top + b)
    return np.clip(light * curved / top, 0, 1) ** (1 / 2.4) * 255


@pytest.mark.parametrize("patch", COLOURS[3:])
def test_a_pixel_of_hlg_is_as_bright_as_on_its_own_screen(
    tmp_path: Path, patch: tuple[int, int, int]
) -> None:
    """ITU-R BT.2100: by all of its light, not by each of its three for itself."""
    y, cb, cr = (patch[0] - 64) / 876, (patch[1] - 512) / 896, (patch[2] - 512) / 896
    red, blue = y + 1.4746 * cr, y + 1.8814 * cb
    signal = np.array([red, (y - 0.2627 * red - 0.0593 * blue) / 0.6780, blue])
    scene = np.where(
        signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    )
    light = scene * (scene @ [0.2627, 0.6780, 0.0593]) ** 0.2 * 1000 / 203
    sample = sample_frames(colour_film(tmp_path / "a.mkv", [patch], (HLG, BT2020, 9)), 1)
    np.testing.assert_allclose(seen(sample)[0], shown(light, 1000 / 203), atol=1.5)


@pytest.mark.parametrize(
    ("told", "peak_nits"),
    [
        ("", 1000),
        (HDR10.format(4000), 4000),
        (HDR10.format(4000) + ":max-cll=600,100", 600),
        (HDR10.format(4000) + ":max-cll=90,50", 203),
    ],
)
def test_the_brightest_of_a_film_is_where_it_says(
    tmp_path: Path, told: str, peak_nits: int
) -> None:
    options = {"x265-params": f"{X265}:{told}".rstrip(":")}
    patches = [(509, 512, 512)] * 4
    path = colour_film(tmp_path / "a.mkv", patches, (PQ, BT2020, 9), "libx265", options)
    nits = 100.2  # of 509, by SMPTE ST 2084
    expected = shown([nits / 203] * 3, max(peak_nits / 203, 1.000001))
    np.testing.assert_allclose(seen(sample_frames(path, 1))[0], expected, atol=1)


def retagged(path: Path, source: Path, tags: tuple[int, int, int]) -> Path:
    """The same packets, in a container that says more than they do."""
    with av.open(str(source)) as origin, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(origin.streams.video[0])
        tag(stream.codec_context, tags)
        for packet in origin.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_container_may_say_it_alone(tmp_path: Path, kind: str) -> None:
    """HEVC's decoder says of such frames that it does not know."""
    options = {"x265-params": X265}
    source = colour_film(tmp_path / f"a.{kind}", GREYS, SAID_NOTHING, "libx265", options)
    path = retagged(tmp_path / f"b.{kind}", source, (PQ, BT2020, 9))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).color_trc == SAID_NOTHING[0]
    sample = sample_frames(path, 1)
    assert sample.colour == Colour("pq", "bt2020", mapped=True)
    assert seen(sample)[4] == pytest.approx((217,) * 3, abs=1)
    assert sample_frames(source, 1).colour is None


@pytest.mark.parametrize(
    ("tags", "likewise"),
    [
        ((PQ, BT2020, 2), (PQ, BT2020, 9)),
        ((PQ, BT2020, 10), (PQ, BT2020, 9)),
        ((HLG, BT2020, 13), (HLG, BT2020, 9)),
        ((BT709, BT709, 12), (BT709, BT709, 1)),
    ],
)
def test_a_matrix_may_follow_from_the_primaries(
    tmp_path: Path, tags: tuple[int, int, int], likewise: tuple[int, int, int]
) -> None:
    ours, theirs = (
        sample_frames(colour_film(tmp_path / f"{one[2]}.mkv", COLOURS, one), 1)
        for one in (tags, likewise)
    )
    np.testing.assert_array_equal(ours.frames, theirs.frames)


@pytest.mark.parametrize("tags", [(PQ, BT2020, 14), (PQ, BT2020, 15)])
def test_what_only_dolbys_decoder_knows_is_told(tmp_path: Path, tags: tuple[int, int, int]) -> None:
    sample = sample_frames(colour_film(tmp_path / "a.mkv", COLOURS, tags), 1)
    assert sample.colour == Colour("pq", "bt2020", mapped=False)


@pytest.mark.parametrize(
    ("profile", "compatible", "mapped"), [(5, 0, False), (10, 0, False), (8, 1, True), (7, 6, True)]
)
@pytest.mark.parametrize("tags", [SAID_NOTHING, (PQ, BT2020, 9)])
def test_a_track_for_dolbys_decoder_alone_is_told(
    tmp_path: Path, tags: tuple[int, int, int], profile: int, compatible: int, mapped: bool
) -> None:
    source = colour_film(tmp_path / "a.mp4", GREYS, tags, "libx265", {"x265-params": X265})
    sample = sample_frames(with_dolby(tmp_path / "b.mp4", source, profile, compatible), 1)
    if mapped and tags == SAID_NOTHING:
        assert sample.colour is None
    else:
        assert sample.colour == Colour("pq", "bt2020", mapped=mapped)


def test_ordinary_films_are_converted_as_ever(tmp_path: Path) -> None:
    for name, tags in enumerate([SAID_NOTHING, (BT709, BT709, 1), (6, 6, 6), (1, 5, 5)]):
        path = colour_film(tmp_path / f"{name}.mkv", GREYS + COLOURS, tags)
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            plain = frame.to_ndarray(format="rgb24", interpolation="BILINEAR")
        sample = sample_frames(path, 1)
        np.testing.assert_array_equal(sample.frames[0], plain)
        assert (sample.colour, sample.deinterlaced) == (None, 0)


@pytest.mark.parametrize("width", [40, 41, 64, 65, 100])
@pytest.mark.parametrize("form", ["yuv420p", "yuv420p10le"])
def test_a_grey_is_as_bright_at_each_width(tmp_path: Path, form: str, width: int) -> None:
    path = tmp_path / "a.mkv"
    bits = 10 if form.endswith("10le") else 8
    levels = (16, 64, 126, 180, 235)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=1, options={"slices": "4"})
        stream.width = stream.height = 64
        stream.pix_fmt = form
        for number, level in enumerate(levels):
            frame = av.VideoFrame(64, 64, form)
            for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
                dtype = np.uint8 if bits == 8 else np.uint16
                count = plane.buffer_size // np.dtype(dtype).itemsize
                plane.update(np.full(count, value << (bits - 8), dtype).tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sample = sample_frames(path, len(levels), shape=Shape(width, width))
    found = [int(one) for frame in sample.frames for one in (frame.min(), frame.max())]
    expected = [round((level - 16) * 255 / 219) for level in levels for _ in range(2)]
    if (width, bits) == (64, 8):
        # Neither scaled nor of more bits: swscale's shortest way, which truncates.
        np.testing.assert_allclose(found, expected, atol=1)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("matrix", "red", "blue"),
    [(SAID_NOTHING[2], 0.299, 0.114), (6, 0.299, 0.114), (1, 0.2126, 0.0722)],
    ids=["unsaid", "601", "709"],
)
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_are_those_of_the_file(
    tmp_path: Path, matrix: int, red: float, blue: float, full: bool
) -> None:
    """ITU-R BT.601 and BT.709, in ten bits."""
    path = colour_film(tmp_path / "a.mkv", COLOURS, (2, 2, matrix), full=full)
    light, spread, black = (1023, 1023, 0) if full else (876, 896, 64)
    y, cb, cr = (np.array(COLOURS, float) - [black, 512, 512]).T / [[light], [spread], [spread]]
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = np.clip(np.stack([r, g, b], axis=1), 0, 1) * 255
    np.testing.assert_allclose(seen(sample_frames(path, 1)), expected, atol=2)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


def test_a_decoder_that_may_do_nothing_can_do_this(tmp_path: Path, pool: DecoderPool) -> None:
    path = colour_film(tmp_path / "a.mkv", GREYS + COLOURS, (HLG, BT2020, 9))
    shape = Shape(24, 24)
    with pool.open(file_source(path), Progress()) as video:
        sample = video.sample(Request(1, shape=shape))
    np.testing.assert_array_equal(sample.frames, sample_frames(path, 1, shape=shape).frames)
    assert sample.colour == Colour("hlg", "bt2020", mapped=True)
    Recorded(**vars(sample.colour))


@pytest.mark.parametrize("lie", [{"transfer": "x"}, {"primaries": ["bt2020"]}, {"mapped": 3}])
def test_a_decoder_that_lies_of_its_colours_is_heard_no_further(lie: dict[str, Any]) -> None:
    told = {"transfer": "pq", "primaries": "bt2020", "mapped": True} | lie
    if "mapped" in lie:
        assert Colour.told(**told).mapped is True
    else:
        with pytest.raises((ValueError, TypeError)):
            Colour.told(**told)


def test_who_asks_for_the_frames_is_told(
    tmp_path: Path, pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "decoders_of", lambda *_: pool)
    monkeypatch.setattr(pool, "close", lambda: None)
    hdr = colour_film(tmp_path / "a.mp4", GREYS, (PQ, BT2020, 9), "libx265", {"x265-params": X265})
    app = typer.Typer()
    app.command()(cli.frames)
    said = CliRunner().invoke(app, [str(hdr)]).stdout
    assert "pq bt2020, shown as bt709" in said
    dolby = with_dolby(tmp_path / "b.mp4", hdr, 5, 0)
    assert "pq bt2020, shown wrongly" in CliRunner().invoke(app, [str(dolby)]).stdout
    told = json.loads(CliRunner().invoke(app, [str(dolby), "--json"]).stdout)
    assert told["colour"] == {"transfer": "pq", "primaries": "bt2020", "mapped": False}
    assert told["deinterlaced"] == 0
