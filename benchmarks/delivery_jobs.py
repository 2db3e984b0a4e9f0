"""What the fleets of benchmarks.delivery are sent."""

from shared.messages import CaptionJob, Recipe, Video

RECIPE = Recipe(prompt="-", model="bench", revision="1")


def job_of(name: str, ms: int) -> CaptionJob:
    """A job that works for so long."""
    return CaptionJob(video=Video(bucket="b", key=name, etag="e", size_bytes=ms), recipe=RECIPE)


PEER_TASK = "peer.caption"
"""Of benchmarks.sickness_peer."""
