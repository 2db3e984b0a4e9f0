"""The verbs of `jamak` that need the worker's libraries."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.bucket.keys import place_of
from shared.console import AsJson, Grid, err, out, print_json
from shared.errors import Missing, UsageError
from shared.language import spoken
from shared.settings import load_settings
from workers.jobs.addresses import source_at
from workers.jobs.decoders import decoders_of
from workers.progress import Progress
from workers.video.contact_sheet import contact_sheet
from workers.video.process import VideoInfo
from workers.video.sampling import Request, Sample
from workers.video.shape import Shape

THUMBNAIL = Shape(180, None)
SAME = 0.01
"""So near to each other two shapes are one."""
EXAMPLE = "video.mp4, s3://bucket/key or https://host/video.mp4"


def frames(
    address: Annotated[str, typer.Argument(help=EXAMPLE)],
    count: Annotated[int, typer.Option("--frames", min=1, help="As many as this.")] = 8,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="By content, at least one a scene.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option("--out", dir_okay=False, help="A contact sheet: sheet.png")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Which frames of a video the model would see, and what it takes to get them."""
    if sheet is not None and not sheet.parent.is_dir():
        raise UsageError(f"{sheet.parent} is no folder", cure="Create it first.", argument="--out")
    settings = load_settings()
    if "://" in address:
        place_of(address)  # before anything is asked for
    try:
        source = source_at(address, settings)
    except Missing as error:
        raise UsageError(str(error), cure="Check the address.") from error
    pool = decoders_of(settings, 1, settings.scratch_dir)
    request = Request(count, shape=THUMBNAIL, strategy="adaptive" if adaptive else "uniform")
    try:
        with err.status(spoken("looking into it …")), pool.open(source, Progress(), count) as video:
            sample = video.sample(request)
            fetched, whole = video.fetched_bytes, video.whole
            if sheet is not None:
                changes, _ = video.changes()
                contact_sheet(source.name, video.info, sample, changes).save(sheet)
            info = video.info
    finally:
        pool.close()
    told = _told(source.name, source.size_bytes, info, sample, fetched, whole)
    if as_json:
        print_json(told)
        return
    _show(told)
    if sheet is not None:
        out.print(spoken(f"contact sheet: {escape(str(sheet))}"), highlight=False, soft_wrap=True)


def _told(
    name: str, size_bytes: int, info: VideoInfo, sample: Sample, fetched: int, whole: bool
) -> dict[str, object]:
    return {
        "video": name,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "track": vars(sample.track),
        "aspect": sample.aspect,
        "duration_s": round(info.duration_s, 3),
        "frames": info.frames,
        "strategy": sample.strategy,
        "reason": sample.reason,
        "timestamps_s": sample.timestamps_s,
        "targets_s": sample.targets_s,
        "exact": sample.exact,
        "frames_decoded": sample.frames_decoded,
        "frames_looked_at": sample.frames_looked_at,
        "decode_errors": sample.decode_errors,
        "damage": sample.damaged,
        "clock_jumps_s": sample.clock_jumps_s,
        "colour": sample.colour and vars(sample.colour),
        "deinterlaced": sample.deinterlaced,
        "size_bytes": size_bytes,
        "fetched_bytes": fetched,
        "fetched": "whole" if whole else "ranges",
    }


def _picture(told: dict[str, object]) -> str:
    """Its size as it is stored, and its shape as it is shown if that is another one."""
    width, height, aspect = told["width"], told["height"], told["aspect"]
    assert isinstance(width, int)
    assert isinstance(height, int)
    assert isinstance(aspect, float | None)
    shown = aspect is not None and abs(aspect * height / width - 1) > SAME
    shape = f", shown as {aspect:.2f}:1" if shown else ""
    return f"{told['codec']} {width}x{height}{shape}, {told['duration_s']} s"


def _colours(colour: object) -> str:
    assert isinstance(colour, dict)
    shown = "as bt709" if colour["mapped"] else "wrongly"
    return f"{colour['transfer']} {colour['primaries']}, shown {shown}"


def _show(told: dict[str, object]) -> None:
    table = Grid()
    table.add_row("video", escape(str(told["video"])))
    table.add_row("picture", _picture(told))
    track = told["track"]
    assert isinstance(track, dict)
    if track["of"] > 1:
        table.add_row("track", f"{track['index']} of 0 to {track['of'] - 1}: {track['reason']}")
    if told["colour"]:
        table.add_row("colours", _colours(told["colour"]))
    times = told["timestamps_s"]
    assert isinstance(times, tuple)
    table.add_row("frames", ", ".join(f"{moment:.2f}" for moment in times) + " s")
    table.add_row("chosen", f"{told['strategy']} {told['reason']}".strip())
    scenes = f", after {looked} to find the scenes" if (looked := told["frames_looked_at"]) else ""
    table.add_row("decoded", f"{told['frames_decoded']} of {told['frames']} frames{scenes}")
    table.add_row(
        "read", f"{told['fetched_bytes']:,} of {told['size_bytes']:,} bytes ({told['fetched']})"
    )
    if told["deinterlaced"]:
        table.add_row("interlaced", f"{told['deinterlaced']} frames, of each the earlier picture")
    if jumps := told["clock_jumps_s"]:
        assert isinstance(jumps, tuple)
        table.add_row("clock jumps", ", ".join(f"{moment:.2f}" for moment in jumps) + " s")
    if told["damage"]:
        table.add_row("damage", escape(spoken(str(told["damage"]))))
    out.print(table)
