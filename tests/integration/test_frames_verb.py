"""`jamak frames`: what people see of a video's sampling, and what machines get."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.container_edits import pasp, with_box
from tests.verbs import jamak
from tests.videos import cut, faststart, write_clip
from tests.world import World

pytestmark = pytest.mark.integration


def test_a_file_an_object_and_a_sheet(world: World, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 96)
    world.upload(clip, "sheets/a.mp4")
    here = json.loads(jamak(world, "frames", str(clip), "--json").stdout)
    there = json.loads(
        jamak(
            world, "frames", f"s3://{world.videos}/sheets/a.mp4", "--frames", "8", "--json"
        ).stdout
    )
    assert {**there, "video": ""} == {**here, "video": ""}
    assert here["timestamps_s"] == pytest.approx([0.5 + i for i in range(8)])
    assert all(here["exact"])
    assert here["frames_decoded"] < here["frames"] == 96
    assert here["track"] == {"index": 0, "of": 1, "reason": "the only one"}
    assert here["aspect"] == 1.5
    sheet, wide = tmp_path / "sheet.png", tmp_path / "wide.mp4"
    wide.write_bytes(with_box(clip.read_bytes(), b"avc1", pasp(2, 1)))
    shown = jamak(world, "frames", str(wide), "--adaptive", "--out", str(sheet)).stdout
    assert "adaptive" in shown
    assert "h264 96x64, shown as 3.00:1, 8.0 s" in shown
    with Image.open(sheet) as image:
        assert image.width > 4 * 200
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_what_is_wrong_is_said(world: World, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 240, fps=12)
    damaged = cut(tmp_path / "cut.mp4", faststart(tmp_path / "b.mp4", clip), 0.5)
    assert "the file is cut" in jamak(world, "frames", str(damaged)).stdout
    assert "no such file" in jamak(world, "frames", str(tmp_path / "absent.mp4"), code=2).stderr
    assert "JAMAK_ADDRESSES" in jamak(world, "frames", "http://127.0.0.1:1/a.mp4", code=1).stderr
    assert "is a bucket" in jamak(world, "frames", f"s3://{world.videos}", code=2).stderr
    nowhere = str(tmp_path / "no" / "sheet.png")
    assert "no folder" in jamak(world, "frames", str(clip), "--out", nowhere, code=2).stderr
