"""One library samples one video, once: what `benchmarks.frames` measures.

    python -m benchmarks.frames_libraries LIBRARY PATH OUTPUT INDEX...

OUTPUT is `model` (336x336) or `rgb` (the video's own size). Prints one JSON object: CPU and wall
seconds of the call, without imports; peak memory; and where the frames lie, as a NumPy file.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 336
Frames = Any
Sampler = Callable[[Path, str, list[int]], Frames]


def jamak() -> Sampler:
    from workers.video.container import VideoFile
    from workers.video.decode import FrameReader
    from workers.video.packet_times import from_packets
    from workers.video.timeline import from_index

    converter = converters()

    def sample(path: Path, output: str, indices: list[int]) -> Frames:
        with path.open("rb") as file, VideoFile(str(path), path.name, file.peek) as video:
            timeline = from_index(video) or from_packets(video)
            assert timeline
            targets = [int(timeline.times[i]) for i in indices]
            reader = FrameReader(video, timeline, lambda: None)
            convert = converter(output)
            return [convert(one.frame) for one in reader.read(targets)]

    return sample


def converters() -> Callable[[str], Callable[[Any], Frames]]:
    """As workers.video.convert does it, one converter a video, but stretched to the square: that
    is what all libraries can do."""
    from av.video.reformatter import VideoReformatter

    from workers.video.convert import ONLY_COLOURS, SHRINK, flags

    def converter(output: str) -> Callable[[Any], Frames]:
        swscale = VideoReformatter()
        how: dict[str, Any] = {
            "format": "rgb24",
            "interpolation": flags(ONLY_COLOURS, "rgb24"),
            "threads": 1,
        }
        if output == "model":
            how |= {"width": SIDE, "height": SIDE, "interpolation": flags(SHRINK, "rgb24")}
        return lambda frame: swscale.reformat(frame, **how).to_ndarray()

    return converter


def pyav() -> Sampler:
    import av

    converter = converters()

    def sample(path: Path, output: str, indices: list[int]) -> Frames:
        wanted, last, found = set(indices), max(indices), []
        convert = converter(output)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    found.append(convert(frame))
                if number == last:
                    break
        return found

    return sample


def decord() -> Sampler:
    from decord import VideoReader, cpu

    def sample(path: Path, output: str, indices: list[int]) -> Frames:
        size = {"width": SIDE, "height": SIDE} if output == "model" else {}
        reader = VideoReader(str(path), ctx=cpu(0), num_threads=1, **size)
        return reader.get_batch(indices).asnumpy()

    return sample


def torchcodec() -> Sampler:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    def sample(path: Path, output: str, indices: list[int]) -> Frames:
        size = {"transforms": [Resize((SIDE, SIDE))]} if output == "model" else {}
        decoder = VideoDecoder(
            str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact", **size
        )
        return decoder.get_frames_at(indices).data.numpy()

    return sample


def opencv() -> Sampler:
    import cv2

    cv2.setNumThreads(1)

    def sample(path: Path, output: str, indices: list[int]) -> Frames:
        wanted, found = set(indices), []
        options = [cv2.CAP_PROP_N_THREADS, 1]
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
        for number in range(max(indices) + 1):
            if not capture.grab():
                break
            if number in wanted:
                _, picture = capture.retrieve()
                if output == "model":
                    picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                found.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        return found

    return sample


def ffmpeg() -> Sampler:
    import av
    from imageio_ffmpeg import get_ffmpeg_exe

    command = get_ffmpeg_exe()

    def sample(path: Path, output: str, indices: list[int]) -> Frames:
        picked = "+".join(f"eq(n\\,{index})" for index in indices)
        scale = f",scale={SIDE}:{SIDE}:flags=area" if output == "model" else ""
        done = subprocess.run(
            [
                *(command, "-v", "error", "-threads", "1", "-i", str(path)),
                *("-vf", f"select={picked}{scale}", "-fps_mode", "passthrough"),
                *("-frames:v", str(len(indices)), "-filter_threads", "1"),
                *("-f", "rawvideo", "-pix_fmt", "rgb24", "-"),
            ],
            check=True,
            capture_output=True,
        )
        width = height = SIDE
        if output == "rgb":
            with av.open(str(path)) as container:
                context = container.streams.video[0].codec_context
                width, height = context.width, context.height
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)

    return sample


LIBRARIES: dict[str, Callable[[], Sampler]] = {
    "jamak": jamak,
    "torchcodec": torchcodec,
    "decord": decord,
    "opencv": opencv,
    "pyav": pyav,
    "ffmpeg": ffmpeg,
}


def shared_libraries() -> Path:
    """A folder in which torchcodec finds FFmpeg: PyAV's own, under the names it looks for, beside
    what those need, under the names that PyAV gives."""
    import av

    folder = Path(tempfile.mkdtemp(prefix="jamak-ffmpeg-"))
    for file in (Path(av.__file__).parent.parent / "av.libs").glob("lib*.so*"):
        (folder / file.name).symlink_to(file)
        name, _, rest = file.name.partition("-")
        major = rest.partition(".so.")[2].partition(".")[0]
        if name.startswith(("libav", "libsw")) and major:
            (folder / f"{name}.so.{major}").symlink_to(file)
    return folder


def peak_mib() -> float:
    """Of this process since it began (what getrusage tells begins with its parent), or a child."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (own_kib,) = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return max(own_kib, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def cpu_s() -> float:
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    name, path, output = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    indices = [int(index) for index in sys.argv[4:]]
    sample = LIBRARIES[name]()
    wall, cpu = time.perf_counter(), cpu_s()
    frames = sample(path, output, indices)
    told = {"cpu_s": cpu_s() - cpu, "wall_s": time.perf_counter() - wall}
    told["rss_mib"] = peak_mib()
    kept = Path(tempfile.mkdtemp(prefix="jamak-frames-")) / "frames.npy"
    np.save(kept, np.stack(list(frames)) if len(frames) else np.zeros((0, 1, 1, 3), np.uint8))
    print(json.dumps({**told, "frames": str(kept)}))


if __name__ == "__main__":
    main()
