"""One detector looks through one video, once: what `benchmarks.scenes` measures.

    python -m benchmarks.scenes_detectors DETECTOR PATH

Prints one JSON object: the frames at which scenes change, and the CPU seconds of the call, without
imports.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.frames_libraries import cpu_s

Detector = Callable[[Path], list[int]]


def jamak() -> Detector:
    from workers.video.container import VideoFile
    from workers.video.packet_times import from_packets
    from workers.video.scenes import look
    from workers.video.timeline import from_index

    def detect(path: Path) -> list[int]:
        with VideoFile(str(path), path.name, lambda size: b"") as video:
            timeline = from_index(video) or from_packets(video)
            assert timeline
            found = look(video, timeline, lambda: None).changes()
            return [int(timeline.times.searchsorted(one.time)) for one in found]

    return detect


def scenedetect(name: str) -> Detector:
    """PySceneDetect as it comes: its own settings, its own backend, its own downscaling."""
    import scenedetect
    from scenedetect import SceneManager, open_video

    def detect(path: Path) -> list[int]:
        manager = SceneManager()
        detector: Any = getattr(scenedetect, name)()
        manager.add_detector(detector)
        manager.detect_scenes(open_video(str(path)))
        return [begin.frame_num for begin, _ in manager.get_scene_list()[1:]]

    return detect


DETECTORS: dict[str, Callable[[], Detector]] = {
    "jamak": jamak,
    "content": lambda: scenedetect("ContentDetector"),
    "adaptive": lambda: scenedetect("AdaptiveDetector"),
}


def main() -> None:
    detect = DETECTORS[sys.argv[1]]()
    begun = cpu_s()
    frames = detect(Path(sys.argv[2]))
    print(json.dumps({"cpu_s": cpu_s() - begun, "frames": frames}))


if __name__ == "__main__":
    main()
