"""Everything in the code that asks AWS for something, by the role of who does it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from producer.backlog.budgets import Budgets
from producer.backlog.deadlines import Deadlines
from producer.backlog.feeder import Feed
from producer.backlog.manifest import Backlog, backlog_names
from producer.bucket.captions import NoCaption
from producer.bucket.unused_adapters import Unused, delete
from producer.canary.lease import Lease
from producer.canary.state import TrialState
from producer.canary.votes import Votes
from producer.canary.watcher import Watcher
from producer.feedback.store import FeedbackStore
from producer.jobs.asked import AskedJobs
from producer.scaling.outside import Uploads
from producer.uploads import listen
from producer.uploads.lag import events_reading
from producer.uploads.sqs import dead_letters_of, sqs_client
from producer.verbs.adapters import adapters
from producer.verbs.backlog import backlog
from producer.verbs.bulk import export, reconcile
from producer.verbs.captions import show, upload
from producer.verbs.checks import events_queue
from producer.verbs.costs import costs
from producer.verbs.failures import failures
from producer.verbs.feedback import feedback
from producer.verbs.recaption import recaption
from producer.verbs.retrain import retrain
from producer.verbs.training import train
from shared.bucket import proofs
from shared.bucket.checkpoints import Checkpoints, clear
from shared.bucket.keys import retraining_folder, training_folder, view_key
from shared.bucket.ledgers import TRAINER
from shared.bucket.neighbours import prove_output, prove_reads
from shared.bucket.records import Records
from shared.bucket.registry import base_name
from shared.bucket.reports import POLICY, Reports
from shared.bucket.training import TrainingRecords
from shared.bucket.trials import TrialPages
from shared.bucket.videos import video_of
from shared.errors import BrokerUnavailable, JamakError
from shared.feedback import Thumb, about
from shared.messages import CaptionJob, Cuts, ModelIdentity, Video
from shared.prices import price_of
from shared.settings import Output
from shared.telemetry.health import LoopHealth
from shared.tenants import Tenants
from shared.training import TrainOutcome, TrainProgress
from shared.training_runs import STATE_FILE, TENSORS_FILE
from shared.web.addresses import Addresses
from tests.adapters import publish
from tests.backlogs import failure_of
from tests.iam import Account, acting_as
from tests.rendered import DATA, EXPORTS, OUTPUT, VIDEOS
from tests.rights import Names
from tests.training import fetch_data, make_job, make_videos, sft_rows
from tests.verbs import inside
from tests.videos import write_clip
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.delivery.ledger import LedgerWriter
from workers.delivery.spending import Spending
from workers.jobs.adapters import AdapterFollower
from workers.jobs.fetch import Places, read_video
from workers.jobs.parts import Parts
from workers.jobs.trials import Trials
from workers.progress import Progress
from workers.video.pool import DecoderPool


@dataclass(frozen=True)
class Staffed:
    """The account with all that the roles meet in it, their policies in force."""

    account: Account
    rendered: dict[str, Any]
    world: World
    names: Names

    @contextmanager
    def acting(self, role: str) -> Iterator[World]:
        env = self.account.roles[role]
        with acting_as(env):
            yield replace(self.world, aws=env)


class Speaking(Silent):
    def caption(self, *args: Any) -> Answer:
        return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)


BASE = ModelIdentity(id="tests/tiny", revision="1", weights_sha256="d" * 64)


class Story:
    """Everything of the code that asks AWS for something, by who does it."""

    def __init__(
        self,
        staffed: Staffed,
        decoders: DecoderPool,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self._staffed, self._acting, self._names = staffed, staffed.acting, staffed.names
        self._decoders, self._folder, self._monkeypatch = decoders, folder, monkeypatch
        self._output = Output(OUTPUT, staffed.world.prefix)
        self._version, self._older, self._trial = "", "", 0

    def operator_uploads(self) -> None:
        frames = {"a": 12, "b": 12, "c": 12, "d": 15, "long": 12}
        films = [write_clip(self._folder / f"{name}.mp4", n) for name, n in frames.items()]
        large = self._folder / "large.mp4"
        large.write_bytes(bytes(9 << 20))  # in parts
        with self._acting("operator") as world:
            inside(world, upload, *map(str, (*films, large)), f"s3://{VIDEOS}/in/")
        with self._acting("admin") as world:
            rows = sft_rows(make_videos(self._folder))[:1]
            rows[0]["videos"] = [{"uri": f"s3://{VIDEOS}/in/a.mp4"}]
            rows.append({**rows[0], "id": "x", "videos": [{"uri": "x.mp4"}]})
            manifest = "\n".join(map(json.dumps, rows)).encode()
            world.store.put(DATA, "set/manifest.jsonl", manifest)
            world.store.upload(write_clip(self._folder / "x.mp4", 14), DATA, "set/x.mp4")

    def listener_listens(self) -> None:
        with self._acting("admin"):
            sqs = sqs_client()
            restored = {
                "eventSource": "aws:s3",
                "eventName": "ObjectRestore:Completed",
                "s3": {"bucket": {"name": VIDEOS}, "object": {"key": "in/a.mp4"}},
            }
            for body in ("no event", json.dumps({"Records": [restored]})):
                sqs.send_message(QueueUrl=self._names.events_url, MessageBody=body)
        with self._acting("listener") as world:
            settings = world.settings.model_copy(
                update={"events_queue_url": self._names.events_url}
            )
            sqs = sqs_client()
            health = LoopHealth()
            one = listen.Listener(settings, world.store, sqs, world.queues, health)

            def away(*_: object) -> None:
                raise BrokerUnavailable("a test")

            with self._monkeypatch.context() as patch, pytest.raises(BrokerUnavailable):
                patch.setattr(listen, "send", away)
                one.poll(0)
            while one.poll(0):
                pass
            prove_reads(world.store, VIDEOS, "in/a.mp4")
            dead = partial(dead_letters_of, sqs, self._names.events_url)
            for reading in events_reading(sqs, self._names.events_url, dead):
                assert list(reading.collect())

    def trainer_trains(self) -> None:
        with self._acting("trainer") as world:
            world.store.prove(self._output)
            prove_output(world.store, self._output)
            prove_reads(world.store, DATA, "set/x.mp4")
            prove_reads(world.store, VIDEOS, "in/a.mp4")
            job = make_job(id="t1", data=f"s3://{DATA}/set/manifest.jsonl")
            records = TrainingRecords(world.store, OUTPUT, world.prefix)
            assert records.outcome(job.id) is None
            records.begin(job.id, lambda: None)
            seen = records.started(job.id, world.registry.pointers)
            progress = Progress()
            folder = self._folder / "train"
            folder.mkdir()
            fetch_data(job, world.store, folder, progress, 1 << 20)
            run = Checkpoints(world.store, OUTPUT, world.prefix, job.id, "w", lambda: None)
            for step in range(3):  # the first is then one too many
                for name in (STATE_FILE, TENSORS_FILE):
                    (folder / name).write_bytes(b"%d" % step)
                run.add(step, "", folder, lambda: None)
            assert run.fetch("", folder / "checkpoint", lambda: None) == 0  # they are no state
            run.check()
            now = datetime.now(UTC)
            records.tell(
                TrainProgress(
                    job_id=job.id, worker="w", attempt=1, since=now, stage="train", updated_at=now
                )
            )
            for number in range(2):
                adapter = self._folder / f"adapter{number}"
                adapter.mkdir()
                (adapter / "adapter_model.safetensors").write_bytes(b"weights %d" % number)
                (adapter / "adapter_config.json").write_bytes(b"{}")
                records.about_to_publish(job.id, lambda: None)
                self._older = self._version
                self._version = publish(world.registry, adapter, BASE).version
                world.registry.activate(BASE.weights_sha256, self._version)
            ended = TrainOutcome(job_id=job.id, status="published", seconds=1, created_at=now)
            records.end(ended)
            clear(world.store, OUTPUT, world.prefix, job.id)
            self._writes_its_ledger(world, TRAINER)
            assert seen == {}

    def operator_chooses(self) -> None:
        with self._acting("operator") as world:
            inside(world, adapters, "rollback")
            inside(world, adapters, "activate", self._version)
            inside(world, adapters, "list")
            inside(world, adapters, "show", self._version)
            assert inside(world, adapters, "verify").exit_code == 0
            # As `jamak eval --keep` and `jamak adapters gate` do.
            reports = Reports(world.store, OUTPUT, world.prefix)
            files = {f"judged.{kind}": b"{}" for kind in ("json", "md", "html")}
            reports.write(BASE.weights_sha256, self._version, files)
            world.store.put(OUTPUT, f"{world.prefix}adapters/{POLICY}", b"")
            assert reports.policy() is not None
            trial = json.loads(inside(world, adapters, "canary", self._older, "--json").stdout)
            self._trial = trial["generation"]
            data = f"s3://{DATA}/set/manifest.jsonl"
            job = json.loads(inside(world, train, "sft", "--data", data, "--json").stdout)
            inside(world, train, "list")
            checkpoint = f"{training_folder(world.prefix)}{job['job_id']}/checkpoints/1-1/x"
            with self._acting("trainer") as trainer:
                trainer.store.put(OUTPUT, checkpoint, b"")
        with self._acting("operator") as world:
            inside(world, train, "cancel", job["job_id"])
            assert not world.store.exists(OUTPUT, checkpoint)
            folder = f"{world.prefix}adapters/{BASE.weights_sha256[:12]}"
            unused = Unused(
                BASE.weights_sha256[:12],
                "0" * 12,
                1,
                datetime.now(UTC),
                (f"{folder}/{'0' * 12}/manifest.json",),
            )
            assert delete(world.store, world.settings, unused)

    def _captioned(self, world: World) -> list[CaptionJob]:
        return [world.job(video_in(world, f"in/{name}.mp4")) for name in ("a", "d")]

    def operator_hears(self) -> None:
        with self._acting("operator") as world:
            records = Records(world.store, world.settings)
            feedback = FeedbackStore(world.store, world.settings)
            for job in self._captioned(world):
                caption = records.find(job)
                assert caption is not None
                judged = about(caption, records.place_of(caption))
                feedback.add(Thumb(about=judged, reviewer="kim", at=datetime.now(UTC), up=True))

    def operator_writes_rules(self) -> None:
        with self._acting("operator") as world:
            rules = f"{retraining_folder(world.prefix)}rules.yaml"
            rule = b"{name: liked, when: {thumbs: 2}, train: {stage: sft, steps: 1}}"
            world.store.put(OUTPUT, rules, b"rules: [%s]" % rule)
            told = json.loads(inside(world, retrain, "--dry-run", "--json").stdout)
            assert (told["rules"][0]["due"], told["runs"]) == (True, [])

    def retrainer_retrains(self) -> None:
        with self._acting("retrainer") as world:
            world.store.prove(self._output, proofs.conditions)
            first, second = (json.loads(inside(world, retrain, "--json").stdout) for _ in range(2))
            assert first["started"] == second["runs"]
        (run,) = second["runs"]
        with self._acting("trainer") as world:
            asked = TrainingRecords(world.store, OUTPUT, world.prefix).asked(run["job"]["id"])
            assert asked is not None and asked.job.start_from == self._version
            fetch_data(asked.job, world.store, self._folder, Progress(), 1 << 20)

    def watcher_watches(self) -> None:
        with self._acting("watcher") as world:
            world.store.prove(self._output, proofs.conditions)
            # While workers have not seen enough, what people say counts as well.
            now = datetime.now(UTC)
            undecided = TrialState(
                generation=self._trial,
                version=self._version,
                since=now - timedelta(hours=1),
                updated_at=now,
                jamak="",
            )
            votes = Votes(world.store, world.settings)
            assert not [*votes.of(base_name(BASE.weights_sha256), undecided)]
            lease = Lease(world.store, OUTPUT, world.prefix, "w")
            Watcher(world.store, world.settings, lease, lambda pause_s: True).run()
            last = world.registry.pointer(BASE.weights_sha256).history[-1]
            assert (last.how, last.by) == ("canary ended", "watch")

    def _sees_a_trial(self, world: World) -> None:
        pages = TrialPages(world.store, OUTPUT, world.prefix, BASE.weights_sha256)
        trials = Trials(pages, "a-worker", pairs=True, every_s=5)
        trials.refuse(self._trial, "it does not fit")
        trials.write()

    def captioner_captions(self) -> None:
        with self._acting("captioner") as world:
            world.store.prove(self._output)
            prove_output(world.store, self._output)
            prove_reads(world.store, VIDEOS, "in/a.mp4")
            captioner = Speaking()
            follower = AdapterFollower(
                world.registry, captioner, BASE.weights_sha256, 60, self._folder
            )
            assert follower.look()
            self._sees_a_trial(world)
            assert captioner.adapters == [self._version]
            work = work_with(world, captioner, self._decoders)
            for job in self._captioned(world):
                assert work.run(job, taken(world, job)) == "ok"
            self._writes_its_ledger(world, "l4")
            records = Records(world.store, world.settings)
            failed = world.job(video_in(world, "in/c.mp4"))
            assert [records.write_failure(failed, failure_of(failed)) for _ in range(2)] == [
                True,
                False,
            ]
            parts = Parts(world.store, world.settings, world.job(video_in(world, "in/long.mp4")))
            for _ in range(2):
                cuts = parts.cuts(
                    lambda: Cuts(segments_s=((0.0, 1.0), (1.0, 2.0)), reason="a test")
                )
            assert parts.written == 1
            assert len(cuts.segments_s) == 2
        self._captioner_reads_an_old_version()

    def _captioner_reads_an_old_version(self) -> None:
        with self._acting("operator") as world:
            old = world.store.head(VIDEOS, "in/b.mp4")
            inside(world, upload, str(write_clip(self._folder / "b.mp4", 13)), f"s3://{VIDEOS}/in/")
        with self._acting("captioner") as world:
            job = world.job(video_of(old))
            sent: list[CaptionJob] = []
            addresses = Addresses(world.settings.addresses)
            start = read_video(
                Places(world.store, addresses),
                job,
                Progress(),
                sent.append,
                lambda source, info: source.fetch(4, 8),
            )
            assert start == b"ftyp"
            assert [one.video.key for one in sent] == ["in/b.mp4"]

    def _unread(self, error: JamakError) -> None:
        raise error

    def operator_begins_a_backlog(self) -> None:
        with self._acting("operator") as world:
            source = f"s3://{VIDEOS}/in/"
            inside(world, backlog, "start", "films", source, "--by", "23:59", "--budget", "500usd")

    def feeder_feeds(self) -> None:
        with self._acting("feeder") as world:
            assert list(backlog_names(world.store, world.settings)) == ["films"]
            world.store.prove(self._output, proofs.conditions)
            budgets = Budgets(world.store, world.settings, self._unread)
            feed = Feed(Backlog(world.store, world.settings, "films"), world.queues)
            assert budgets.allow(feed, 100) == 100
            assert feed.step(100)
            feed.save()
            assert feed.cursor.fed == feed.manifest.lines
            assert not budgets.settle(feed)
            assert feed.in_flight() == feed.manifest.lines - feed.ended()

    def operator_looks_after_it(self) -> None:
        with self._acting("admin") as world:
            # Whoever wrote the record died before this.
            world.store.delete(OUTPUT, view_key(world.prefix, VIDEOS, "in/a.mp4", ".vtt"))
        with self._acting("operator") as world:
            inside(world, show, f"s3://{VIDEOS}/in/a.mp4")
            with pytest.raises(NoCaption, match="0 of 2 segments"):
                inside(world, show, f"s3://{VIDEOS}/in/long.mp4")
            inside(world, failures, "redrive", "--go")
            told = inside(world, reconcile, f"s3://{VIDEOS}/in/", "--json")
            assert json.loads(told.stdout)["rendered"] == 1
            inside(world, export, "films", "--to", f"s3://{EXPORTS}/films/")
            inside(world, feedback, "add", f"s3://{VIDEOS}/in/a.mp4", "--reviewer", "kim", "--up")
            tasks = f"s3://{EXPORTS}/films/tasks.json"
            inside(world, feedback, "export", "--to", tasks, "--format", "label-studio")
            inside(world, feedback, "import", "label-studio", tasks)
            address = CaptionJob(
                video=Video(bucket="https:example.com", key="a.mp4", etag="e", size_bytes=1),
                recipe=world.recipe,
                address="https://example.com/a.mp4",
            )
            asked = AskedJobs(world.store, world.settings)
            asked.ask(address)
            inside(world, reconcile)
            inside(world, costs)
            asked.forget(address)
            settings = world.settings.model_copy(
                update={"events_queue_url": self._names.events_url}
            )
            assert "dead" in events_queue(settings)
            again = inside(world, recaption, "--where", "status=ok", "--yes", "--json")
            (made,) = json.loads(again.stdout)["backlogs"]
            inside(world, backlog, "status", "films")
            for name in ("films", made["name"]):
                inside(world, backlog, "delete", name, "--force", "--yes")

    def scaler_counts(self) -> None:
        with self._acting("scaler") as world:
            waiting = Uploads(sqs_client(), self._names.events_url).look().messages
            assert waiting == 1  # what was overwritten
            (unfed,) = Deadlines(world.store, world.settings, world.queues).unfed()
            assert unfed.lines == 6

    def _writes_its_ledger(self, world: World, card: str) -> None:
        price, spending = price_of(world.settings, None), Spending(Tenants({}), time.monotonic())
        LedgerWriter(world.store, self._output, card, card, price, spending).write()


def video_in(world: World, key: str) -> Video:
    return video_of(world.store.head(VIDEOS, key))
