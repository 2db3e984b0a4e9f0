"""What do traces cost a worker, when every caption is traced?

    python -m benchmarks.tracing [--json] [--quick] [--rounds N] [--videos N]

One process does what a captioner does: real tasks, leases, decoders and the demo's model, over a
real Redis and a real S3 API. In each round it captions the same videos twice traced and twice
untraced, in turns. Traced, it hands ten spans of each to a collector, a process of its own, by
OpenTelemetry's SDK; the two of sending are the listener's. `cpu_ratio` is the CPU time of a caption
traced over untraced, decoders included, within a round. The demo's model is the smallest
that captions: with a larger one traces cost the same, and so a smaller share. `spans` are those of
one caption and nothing else: how much CPU time they take to be made and exported. `--json` ends
with one object.
"""

import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.engine_rounds import spread
from benchmarks.programs import begin, need, parser_of
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT
from infra.local.stack import DEMO_MODEL, LocalStack

if TYPE_CHECKING:
    from shared.messages import CaptionJob
    from shared.telemetry.spans import Spans
    from workers.delivery.leases import Leases

ROUNDS, QUICK_ROUNDS = 15, 1
VIDEOS, QUICK_VIDEOS = 24, 4
IN_HAND, NEW_TOKENS, FRAMES = 4, 96, 4
TRACES, QUICK_TRACES = 3000, 200
"""For the cost of spans alone."""

err = Console(stderr=True)


@dataclass
class Worker:
    """The work of a captioner, in this process."""

    leases: "Leases"
    task: Any
    queue: str
    send: Any

    def caption(self, count: int) -> None:
        """What was sent."""
        with ThreadPoolExecutor(IN_HAND) as pool:
            done = [pool.submit(self._run, self._next()) for _ in range(count)]
        for one in done:
            one.result()
        if not self.leases.flush(10):
            raise RuntimeError("Redis does not answer")

    def _next(self) -> tuple[str, Any]:
        from shared.broker.transport import checked

        while (delivery := self.leases.receive([self.queue], 1.0)) is None:
            pass
        args, _, _ = json.loads(checked(delivery)["body"])
        return delivery.lease, args[0]

    def _run(self, taken: tuple[str, Any]) -> None:
        lease, payload = taken
        self.task.push_request(properties={"delivery_tag": lease})
        try:
            self.task.run(payload)
        finally:
            self.task.pop_request()
        self.leases.finished(lease)


@contextmanager
def worker(stack: LocalStack, folder: Path) -> Iterator[Worker]:
    from celery import Celery

    from producer.jobs.send import send
    from shared import telemetry
    from shared.broker.apps import CAPTION_TASK, caption_prefix, leased_queues
    from shared.bucket.storage import ObjectStore
    from shared.cards import choose_card
    from shared.settings import load_settings
    from workers.caption.captioner import EngineCaptioner
    from workers.delivery.leases import Leases
    from workers.jobs.caption import CaptionWork
    from workers.jobs.decoders import decoders_of
    from workers.model.loading import load_model
    from workers.tasks import register_caption

    os.environ |= {**stack.env, "JAMAK_LOG_LEVEL": "warning"}
    telemetry.configure_logging("warning")
    settings = load_settings()
    loaded = load_model(DEMO_MODEL, model_id=settings.model, revision=settings.model_revision)
    choice = choose_card(settings, None)
    captioner = EngineCaptioner(loaded, choice.card, rows=IN_HAND)
    decoders = decoders_of(settings, IN_HAND, folder)
    leases = Leases(leased_queues(settings, caption_prefix(settings)), IN_HAND, dict)
    work = CaptionWork(
        settings,
        ObjectStore(),
        captioner,
        loaded.identity,
        choice,
        decoders,
        lambda job, queue: None,
        lambda: False,
    )
    app = Celery(set_as_current=False)
    register_caption(app, lambda: leases, lambda: work)
    leases.start()
    try:
        yield Worker(leases, app.tasks[CAPTION_TASK], "caption.t4", send)
    finally:
        leases.leave()
        decoders.close()
        captioner.engine.close()


@contextmanager
def collector(folder: Path) -> Iterator[str]:
    """A process that takes what is exported; its address."""
    port = free_port()
    process = Process(
        "collector",
        [sys.executable, "-m", "infra.local.collector", "--port", str(port)],
        log=folder / "collector.log",
        env=os.environ,
        cwd=ROOT,
    )
    try:
        process.wait_until(lambda: "export" in process.log.read_text(), 60)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        stop([process])


class Switch:
    """Traces of this process, on or off."""

    def __init__(self, url: str) -> None:
        from shared.telemetry import trace_export, tracing

        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
        self._state = tracing._state
        self._state.decided = True
        self._provider, self.spans = trace_export.exported("captioner", os.environ)

    def turn(self, on: bool) -> None:
        self._state.spans = self.spans if on else None

    def flush(self) -> None:
        self._provider.force_flush()

    def close(self) -> None:
        self.turn(False)
        self._provider.shutdown()


def measured(work: Worker, switch: Switch, jobs: "Sequence[CaptionJob]", traced: bool) -> float:
    """CPU seconds of a caption."""
    switch.turn(traced)
    work.send(work.leases.queues, work.queue, jobs, [time.time()] * len(jobs))
    switch.flush()  # that is the listener's part
    began = cpu_s()
    work.caption(len(jobs))
    switch.flush()
    return (cpu_s() - began) / len(jobs)


def cpu_s() -> float:
    """So far, of this process and its decoders, but not of the servers."""
    spent = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("workers.video" in one for one in child.cmdline()):
                times = child.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
    return spent


def rounds_of(
    work: Worker, switch: Switch, jobs: "Sequence[CaptionJob]", rounds: int
) -> list[dict[str, float]]:
    generations = count(1)

    def caption(traced: bool) -> float:
        generation = next(generations)
        return measured(work, switch, [again(job, generation) for job in jobs], traced)

    for traced in (True, False):
        caption(traced)  # decoders are started, and kernels are made
    gc.freeze()  # as a worker does: garbage is not looked for in torch
    found = []
    for number in range(rounds):
        spent: dict[bool, list[float]] = {True: [], False: []}
        for turn in (0, 1, 1, 0):  # so that what changes meanwhile concerns both
            traced = (number + turn) % 2 == 0
            spent[traced].append(caption(traced))
        one = {"traced": statistics.fmean(spent[True]), "untraced": statistics.fmean(spent[False])}
        ratio = one["traced"] / one["untraced"]
        err.print(f"{number + 1}: {ratio:.4f}, {one['untraced']:.4f} CPU s", highlight=False)
        found.append(one)
    return found


def again(job: "CaptionJob", generation: int) -> "CaptionJob":
    """The same, but another record."""
    recipe = job.recipe.model_copy(update={"generation": generation})
    return job.model_copy(update={"recipe": recipe})


def uploaded(stack: LocalStack, folder: Path, count: int) -> "list[CaptionJob]":
    from infra.demo.clips import Clip, film
    from infra.demo.scenes import sample_scenes
    from shared.messages import CaptionJob, Decoding, Recipe, Sampling, Video
    from shared.prompts import BASE_PROMPT

    recipe = Recipe(
        prompt=BASE_PROMPT,
        sampling=Sampling(frames=FRAMES),
        model=stack.env["JAMAK_MODEL"],
        revision=stack.env["JAMAK_MODEL_REVISION"],
        decoding=Decoding(max_new_tokens=NEW_TOKENS, language="ko"),
    )
    jobs, s3 = [], stack.s3.s3()
    for number, scene in enumerate(sample_scenes(count, 7, split="train")):
        clip = Clip(number, duration_s=2.0)
        body = film(scene, clip, folder / f"{number}.mp4").read_bytes()
        key = f"tracing/{number}.mp4"
        tag = s3.put_object(Bucket=stack.videos_bucket, Key=key, Body=body)["ETag"].strip('"')
        video = Video(bucket=stack.videos_bucket, key=key, etag=tag, size_bytes=len(body))
        jobs.append(CaptionJob(video=video, recipe=recipe))
    return jobs


def alone(switch: Switch, traces: int) -> dict[str, float]:
    """The spans of a caption, and nothing else: how many there are, and what they cost."""
    stages = [
        "download",
        "frames",
        "preprocess",
        "engine_wait",
        "prefill",
        "generate",
        "check",
        "write",
        "views",
    ]
    one_of = partial(one_trace, switch.spans, stages)
    for _ in range(10):
        one_of()
    switch.flush()
    began = time.process_time()
    for number in range(traces):
        one_of()
        if number % 50 == 0:
            switch.flush()  # or the queue is full
    switch.flush()
    spent = time.process_time() - began
    return {"a_caption": 3 + len(stages), "cpu_ms": round(1000 * spent / traces, 3)}


def one_trace(spans: "Spans", stages: Sequence[str]) -> None:
    from workers.progress import Stage

    video, job = "s3://jamak-videos/2026/11/29/film.mp4", "0123456789ab-01234567"
    with spans.sending("caption.t4", [(job, video)], [time.time() - 1]) as headers:
        told = b", ".join(f'"{name}": "{text}"'.encode() for name, text in headers[0].items())
    attempt = spans.attempt(
        queue="caption.t4",
        lease=f"host-1-abcdef.{time.monotonic_ns()}",
        message=b'{"headers": {' + told,
        number=1,
        worker="host-1-abcdef",
        dead="",
    )
    facts = {
        "messaging.message.id": job,
        "jamak.video": video,
        "jamak.class": "t4",
        "jamak.adapter": "1b2234790f8c",
        "jamak.flags": ("truncated",),
        **{f"jamak.tokens.{kind}": 100 for kind in ("visual", "prompt", "generated")},
        "jamak.record": "s3://jamak-output/records/jamak-videos/0123456789ab/film.mp4.json",
    }
    now = time.monotonic()
    each = [Stage(name, now - 2 + at / 10, now - 1.9 + at / 10) for at, name in enumerate(stages)]
    with attempt.current():
        attempt.end("done", facts, each, failed=False)


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = parser_of("tracing", __doc__, quick="one short round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--videos", type=int, default=VIDEOS, help="captioned four times in a round"
    )
    arguments = begin(parser)
    need("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    rounds = QUICK_ROUNDS if arguments.quick else arguments.rounds
    videos = QUICK_VIDEOS if arguments.quick else arguments.videos
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="jamak-tracing-")))
        switch = Switch(running.enter_context(collector(folder)))
        running.callback(switch.close)
        stack = running.enter_context(LocalStack(processes=()))
        work = running.enter_context(worker(stack, folder))
        jobs = uploaded(stack, folder, videos)
        found = rounds_of(work, switch, jobs, rounds)
        spans = alone(switch, QUICK_TRACES if arguments.quick else TRACES)
    untraced = statistics.median(one["untraced"] for one in found)
    result = {
        "cpu_ratio": spread([one["traced"] / one["untraced"] for one in found]),
        "cpu_ms_a_caption": round(1000 * untraced, 1),
        "spans": {**spans, "share_of_a_caption": round(spans["cpu_ms"] / 1000 / untraced, 4)},
        "rounds": rounds,
        "captions_a_round": 4 * videos,
    }
    grid = Table("", "")
    for name, value in result.items():
        grid.add_row(name.replace("_", " "), str(value))
    Console(file=sys.stderr if arguments.json else sys.stdout).print(grid)
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
