"""Feedback starts a training exactly once, whoever looks and wherever he is killed."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.processes import stop
from producer.feedback import retrainer as retraining
from producer.feedback import rows as making
from producer.feedback.journal import Journal, Retraining
from producer.feedback.retrainer import Look, Retrainer
from producer.feedback.rules import Rules, read_rules
from producer.feedback.store import FeedbackStore
from producer.feedback.watcher import RetrainWatcher
from producer.jobs.training import Training
from producer.verbs.retrain import retrain
from shared.broker.apps import TRAIN_QUEUE, queues_of, train_app
from shared.bucket.keys import record_key
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.training import TrainingRecords
from shared.errors import ConfigError, StoreUnavailable, UsageError
from shared.feedback import text_digest
from shared.messages import ModelIdentity
from shared.rows import Row
from shared.telemetry.health import LoopHealth
from shared.telemetry.metrics import registry_of
from shared.training import TrainOutcome
from tests.adapters import publish
from tests.faults import SickStore
from tests.feedback import NOW, captions, judged, prefer_all, said
from tests.verbs import inside
from tests.waiting import wait_until
from tests.warm import WarmProcess
from tests.world import World

pytestmark = pytest.mark.integration

RULES = b"""
rules:
  - name: habits
    when: {preferences: 3, hours: 24}
    train: {stage: dpo, steps: 7}
"""


def rules(world: World, text: bytes = RULES) -> Rules:
    return read_rules(text, "rules.yaml", world.settings)


def looking(world: World, after_h: float = 0.0, store: ObjectStore | None = None) -> Retrainer:
    """Who has not looked before, so many hours later."""
    now = NOW + timedelta(hours=after_h)
    return Retrainer(world.settings, store or world.store, train_app(world.settings), lambda: now)


def look(world: World, after_h: float = 0.0, text: bytes = RULES) -> Look:
    return looking(world, after_h).look(rules(world, text))


def queued(world: World) -> list[str]:
    """The ids of the training jobs that wait."""
    queues, found = queues_of(train_app(world.settings)), []
    for item in queues.redis.lrange(f"{queues.prefix}{TRAIN_QUEUE}", 0, -1):
        message = json.loads(item.split(b"\n", 2)[2])
        found.append(json.loads(message["body"])[0][0]["id"])
    return found


def forget(world: World) -> None:
    """As Redis does that is wiped."""
    queues = queues_of(train_app(world.settings))
    queues.redis.delete(f"{queues.prefix}{TRAIN_QUEUE}")


def end(world: World, job_id: str) -> None:
    outcome = TrainOutcome(job_id=job_id, status="published", seconds=1.0, created_at=NOW)
    TrainingRecords(world.store, world.output, world.prefix).end(outcome)


def rows(world: World, told: Look) -> list[Row]:
    (run,) = told.started
    key = run.job.data.removeprefix(f"s3://{world.output}/")
    lines = world.store.get(world.output, key).decode().splitlines()
    return [Row.model_validate_json(line) for line in lines]


def test_a_run_is_started_when_there_is_enough_and_not_before(place: World) -> None:
    made = captions(place, 3)
    prefer_all(place, made[:2])
    told = look(place)
    assert (told.started, told.verdicts[0].waits) == ([], ["2 of 3 new preferences are there"])
    items = prefer_all(place, made)
    told = look(place)
    assert [row.chosen for row in rows(place, told)] == [item.said.chosen for item in items]  # type: ignore[union-attr]
    assert [row.rejected for row in rows(place, told)] == [one.text for one in made]
    (run,) = told.started
    assert (run.number, run.rule, run.job.stage, run.job.steps) == (1, "habits", "dpo", 7)
    assert run.why == "3 new preferences (at least 3); it is the first run of this rule"
    assert queued(place) == [run.job.id]
    asked = TrainingRecords(place.store, place.output, place.prefix).asked(run.job.id)
    assert asked is not None
    assert asked.job == run.job


def test_the_next_run_needs_new_feedback_the_hours_and_the_end_of_the_last(place: World) -> None:
    made = captions(place, 6)
    prefer_all(place, made[:3])
    (run,) = look(place).started
    assert look(place, 1).verdicts[0].waits == [
        "0 of 3 new preferences are there",
        "1.0 of 24 hours have passed since run 1",
        f"run 1, training job {run.job.id}, has not ended",
    ]
    prefer_all(place, made[:3], "lee")  # who says what is known already
    assert "0 of 3 new preferences are there" in look(place, 25).verdicts[0].waits
    prefer_all(place, made)
    assert look(place, 25).verdicts[0].waits == [f"run 1, training job {run.job.id}, has not ended"]
    end(place, run.job.id)
    assert look(place, 23).verdicts[0].waits == ["23.0 of 24 hours have passed since run 1"]
    (second,) = look(place, 25).started
    assert (second.number, second.new, second.rows) == (2, {"preference": 3}, 6)
    assert "25.0 hours since run 1" in second.why
    assert queued(place) == [second.job.id, run.job.id]


def test_what_vanished_and_what_is_disputed_does_not_count(place: World) -> None:
    made = captions(place, 7)
    prefer_all(place, made[:6])
    store = FeedbackStore(place.store, place.settings)
    other = said(
        "preference", judged(place, made[0]), "개가 잡니다. 0번", "lee", chosen=made[0].text
    )
    store.add(other)
    unlike = judged(place, made[6]).model_copy(update={"text_sha256": text_digest("소")})
    store.add(said("preference", unlike, "소", chosen="개"))
    place.store.delete(place.output, record_key(place.prefix, place.job(made[1].video)))
    place.store.delete(place.videos, made[2].video.key)
    place.store.put(place.videos, made[3].video.key, b"overwritten")
    told = look(place)
    assert told.started == []
    assert told.verdicts[0].waits == ["2 of 3 new preferences are there"]
    assert told.verdicts[0].left_out == {
        "as many reviewers say the opposite": 2,
        "its caption is not there any more": 1,
        "its caption is not the one that was judged": 1,
        "its video was deleted or overwritten": 2,
    }
    prefer_all(place, captions(place, 1, "more"))
    assert len(look(place).started) == 1


def test_what_feedback_names_has_to_be_a_record_of_ours(place: World) -> None:
    made = captions(place, 3)
    prefer_all(place, made[:2])
    elsewhere = f"s3://{place.videos}/records/x.json"
    record = place.store.get(place.output, record_key(place.prefix, place.job(made[2].video)))
    place.store.put(place.videos, "records/x.json", record)
    about = judged(place, made[2]).model_copy(update={"record": elsewhere})
    store = FeedbackStore(place.store, place.settings)
    store.add(said("preference", about, made[2].text, chosen="개가 잡니다."))
    (verdict,) = look(place).verdicts
    assert not verdict.due
    assert verdict.left_out == {"what it names is no record in an output of this Jamak": 1}


def test_what_cannot_be_read_keeps_nothing_from_being_learned(place: World) -> None:
    prefer_all(place, captions(place, 3))
    for name, body in (("0" * 64, b"{}"), ("1" * 64, b"nonsense")):
        place.store.put(place.output, f"{place.prefix}feedback/{name}.json", body)
    told = look(place)
    assert len(told.started) == 1
    assert [f"{'01'[n]}" * 64 in str(error) for n, error in enumerate(told.unread)] == [True] * 2


def test_one_video_or_one_kind_of_thumbs_is_nothing_to_train_on(place: World) -> None:
    (one,) = captions(place, 1)
    store = FeedbackStore(place.store, place.settings)
    for n in range(3):
        store.add(said("preference", judged(place, one), one.text, chosen=f"개 {n}"))
    (why,) = look(place).verdicts[0].waits
    assert "all about one video" in why
    for other in captions(place, 3, "thumbs"):
        store.add(said("thumb", judged(place, other), up=True))
    text = RULES.replace(b"preferences", b"thumbs").replace(b"dpo", b"kto")
    (why,) = look(place, text=text).verdicts[0].waits
    assert "needs both" in why


def test_a_run_goes_on_from_the_adapter_in_use(place: World, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    registry = Registry(place.store, place.output, place.prefix)
    base = ModelIdentity(id="tests/tiny", revision="1", weights_sha256="a" * 64)
    other = ModelIdentity(id="another", revision="1", weights_sha256="b" * 64)
    version = publish(registry, tmp_path, base).version
    registry.activate(base.weights_sha256, version)
    registry.activate(other.weights_sha256, publish(registry, tmp_path, other).version)
    prefer_all(place, captions(place, 3))
    (run,) = look(place).started
    assert (run.job.start_from, run.job.replay_share) == (version, 0.25)


def test_what_is_in_use_and_cannot_be_read_is_not_taken_for_nothing(
    place: World, tmp_path: Path
) -> None:
    version = in_use(place, tmp_path, "a" * 64)
    prefer_all(place, captions(place, 3))
    folder = f"{place.prefix}adapters/{'a' * 12}/"
    for key in (f"{folder}{version}/manifest.json", f"{folder}active.json"):
        whole = place.store.get(place.output, key)
        place.store.put(place.output, key, b"{}")
        told = look(place)
        assert told.started == []
        (why,) = told.verdicts[0].waits
        assert key in why and "is damaged" in why
        if key.endswith("manifest.json"):
            place.store.delete(place.output, key)
            assert key in look(place).verdicts[0].waits[0]
        place.store.put(place.output, key, whole)
    (run,) = look(place).started
    assert run.job.start_from == version


def test_a_rule_that_does_not_know_where_to_go_on_keeps_no_other_from_starting(
    place: World, tmp_path: Path
) -> None:
    used = sorted(in_use(place, tmp_path, sign * 64) for sign in "ab")
    prefer_all(place, captions(place, 3))
    store = SickStore()
    text = RULES + RULES.removeprefix(b"\nrules:\n").replace(b"habits", b"others").replace(
        b"steps: 7", b"steps: 7, from: base"
    )
    told = looking(place, store=store).look(rules(place, text), dry_run=True)
    assert [one.due for one in told.verdicts] == [False, True]
    place_of = place.output, place.prefix
    other = ModelIdentity(id="another", revision="1", weights_sha256="c" * 64)
    others = publish(Registry(place.store, *place_of), tmp_path, other).version
    for named, reason in (
        ("f" * 12, "0 adapter versions begin with 'ffffffffffff'"),
        (others, f"{others} is an adapter of another (revision 1)"),
    ):
        from_it = RULES.replace(b"steps: 7", f"from: '{named}'".encode())
        (why,) = looking(place).look(rules(place, from_it), dry_run=True).verdicts[0].waits
        assert reason in why
    told = looking(place, store=store).look(rules(place, text))
    (why,) = told.verdicts[0].waits
    assert f"there are several: {', '.join(used)}" in why and "`from: VERSION`" in why
    assert [(run.rule, run.job.start_from) for run in told.started] == [("others", None)]
    store.asked.clear()
    assert looking(place, store=store).look(rules(place)).verdicts[0].waits != []
    assert not [key for _, _, key in store.asked if "/records/" in key or "/sets/" in key]


def test_nothing_is_trained_while_an_adapter_is_on_trial(place: World, tmp_path: Path) -> None:
    version = in_use(place, tmp_path, "a" * 64)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"others")
    registry = Registry(place.store, place.output, place.prefix)
    base = registry.manifest("a" * 64, version).base
    tried = publish(registry, tmp_path, base).version
    registry.begin_canary("a" * 64, tried, 0.1, paired=False, by="operator")
    prefer_all(place, captions(place, 3))
    for text in (RULES, RULES.replace(b"steps: 7", b"from: base")):
        told = look(place, text=text)
        (why,) = told.verdicts[0].waits
        assert (told.started, f"{tried} is on trial" in why) == ([], True)
    registry.end_canary("a" * 64, by="operator")
    (run,) = look(place).started
    assert run.job.start_from == version


def in_use(world: World, tmp_path: Path, weights: str) -> str:
    """An adapter of this model, whose weights are of that digest."""
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    base = ModelIdentity(id="tests/tiny", revision="1", weights_sha256=weights)
    registry = Registry(world.store, world.output, world.prefix)
    version = publish(registry, tmp_path, base).version
    registry.activate(weights, version)
    return version


# Whose voice counts


@pytest.mark.parametrize("status", [(403, "AccessDenied"), (400, "Nonsense")])
def test_a_caption_that_cannot_be_read_keeps_no_other_from_being_learned(
    place: World, status: tuple[int, str]
) -> None:
    made = captions(place, 4)
    prefer_all(place, made)
    store = SickStore()
    sick = record_key(place.prefix, place.job(made[0].video))
    store.fault = lambda method, bucket, key: status if key == sick else None
    told = looking(place, store=store).look(rules(place))
    assert [run.rows for run in told.started] == [3]
    assert told.verdicts[0].left_out == {"its caption cannot be read": 1}


def test_a_store_that_does_not_answer_is_no_fault_of_a_caption(place: World) -> None:
    made = captions(place, 4)
    prefer_all(place, made)
    store = SickStore()
    sick = record_key(place.prefix, place.job(made[0].video))
    store.fault = lambda method, bucket, key: (503, "SlowDown") if key == sick else None
    with pytest.raises(StoreUnavailable):
        looking(place, store=store).look(rules(place))
    assert queued(place) == []


def test_what_does_not_count_is_no_voice(place: World) -> None:
    made = captions(place, 3)
    prefer_all(place, made)
    store = FeedbackStore(place.store, place.settings)
    gone = f"s3://{place.output}/{place.prefix}records/gone.json"
    elsewhere = f"s3://{place.videos}/records/x.json"
    # Who says the same of what is gone, later; and who says the opposite of two of them.
    for n, (record, same) in enumerate(((gone, True), (gone, False), (elsewhere, False))):
        about = judged(place, made[n]).model_copy(update={"record": record})
        better, worse = f"개가 잡니다. {n}번", made[n].text
        chosen, rejected = (better, worse) if same else (worse, better)
        store.add(said("preference", about, rejected, "lee", 60, chosen=chosen))
    told = look(place)
    assert [run.rows for run in told.started] == [3]
    assert told.verdicts[0].left_out == {
        "its caption is not there any more": 2,
        "what it names is no record in an output of this Jamak": 1,
    }


def test_a_look_at_much_feedback_says_that_it_moves(place: World) -> None:
    prefer_all(place, captions(place, 3))
    app, moved = train_app(place.settings), []
    Retrainer(place.settings, place.store, app, lambda: NOW, lambda: moved.append(1)).look(
        rules(place), dry_run=True
    )
    assert len(moved) == 6  # what was said, and what it was said of


def test_what_is_gone_is_not_asked_for_again_and_again(place: World) -> None:
    made = captions(place, 4)
    prefer_all(place, made[:3])
    key = record_key(place.prefix, place.job(made[0].video))
    record = place.store.get(place.output, key)
    place.store.delete(place.output, key)
    store, hours = SickStore(), iter((0, 1, 2, 3, 25, 26))
    at = NOW

    def asked() -> int:
        nonlocal at
        at = NOW + timedelta(hours=next(hours))
        store.asked.clear()
        seen.append(one.look(rules(place)))
        return sum("/records/" in key for _, _, key in store.asked)

    seen: list[Look] = []
    one = Retrainer(place.settings, store, train_app(place.settings), lambda: at)
    assert asked() == 3
    assert asked() == 0
    assert "its caption is not there any more" in seen[-1].verdicts[0].left_out
    assert seen[-1].verdicts[0].waits == ["2 of 3 new preferences are there"]
    # Somebody says the opposite of one: there may be enough only if what is there was gone.
    FeedbackStore(place.store, place.settings).add(
        said("preference", judged(place, made[3]), "개가 잡니다.", "lee", chosen=made[3].text)
    )
    FeedbackStore(place.store, place.settings).add(
        said("preference", judged(place, made[3]), made[3].text, "kim", chosen="개가 잡니다.")
    )
    assert (asked(), seen[-1].started) == (3, [])
    assert asked() == 0
    assert "2 of 3" in seen[-1].verdicts[0].waits[0]
    place.store.put(place.output, key, record)
    assert (asked(), len(seen[-1].started)) == (4, 1)


def test_a_rule_that_asks_for_less_is_looked_at_anew(place: World) -> None:
    made = captions(place, 4)
    prefer_all(place, made)
    place.store.delete(place.videos, made[0].video.key)
    retrainer = looking(place)
    more = RULES.replace(b"preferences: 3", b"preferences: 4")
    for _ in range(2):
        assert retrainer.look(rules(place, more)).started == []
    assert len(retrainer.look(rules(place)).started) == 1


def test_what_a_rule_has_learned_may_be_much_and_is_fetched_once(place: World) -> None:
    prefer_all(place, captions(place, 3))
    (run,) = look(place).started
    journal = Journal(place.store, place.settings)
    many = [f"{n:064x}" for n in range(1_032_445)]  # what is over the usual limit of an object
    run = run.model_copy(update={"used": journal.keep_used(many)})
    assert len(journal.used(run)) == len(many)
    place.store.delete(place.output, f"{place.prefix}retraining/used/{run.used}.txt")
    assert len(journal.used(run)) == len(many)


def test_a_rule_learns_no_more_than_is_kept(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "MOST_LEARNED", 3)
    prefer_all(place, captions(place, 3))
    (run,) = look(place).started
    end(place, run.job.id)
    prefer_all(place, captions(place, 3, "more"))
    (why,) = look(place, 25).verdicts[0].waits
    assert why.startswith("its runs have learned 3 lessons")


def test_what_a_full_set_has_no_room_for_is_not_new_for_ever(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MOST_ROWS", 3)
    prefer_all(place, captions(place, 7))
    told = look(place)
    (run,) = told.started
    (verdict,) = told.verdicts
    assert (run.rows, verdict.new) == (3, {"preference": 3})
    assert verdict.left_out == {"one set takes no more, and what is newer counts": 4}
    end(place, run.job.id)
    (verdict,) = look(place, 25).verdicts
    assert verdict.waits == ["0 of 3 new preferences are there"]
    assert verdict.rows == 0  # and nobody has asked for the captions


# Exactly once

STEPS = ("sets/", "used/", "000001.json", "asked.json", "send", "sent.json")


class Killed:
    """Ends this process, as a kill does, before or after a step."""

    def __init__(self, step: str, *, after: bool) -> None:
        self._step, self._after = step, after

    def around(self, name: str, do: Callable[[], Any]) -> Any:
        mine = self._step in name
        if mine and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = do()
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def look_and_die(world: World, step: str, *, after: bool) -> None:
    """In a process of its own, which gets that far and no further."""
    child = os.fork()
    if child:
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        return
    try:
        killed = Killed(step, after=after)
        put, send = ObjectStore.put, retraining.send_training
        # Connections are nothing that two processes may share.
        one = looking(world, store=ObjectStore(outputs=world.settings.all_outputs))

        def putting(store: ObjectStore, bucket: str, key: str, body: bytes, **how: Any) -> Any:
            return killed.around(key, lambda: put(store, bucket, key, body, **how))

        ObjectStore.put = putting  # type: ignore[method-assign, assignment]
        retraining.send_training = lambda *job: killed.around("send", lambda: send(*job))
        one.look(rules(world))
    finally:
        os._exit(0)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_starts_it_once(
    place: World, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefer_all(place, captions(place, 3))
    look_and_die(place, step, after=after)
    # What was claimed or asked for may be on its way for a minute.
    monkeypatch.setattr(retraining, "just_asked", lambda at: False)
    for hour in range(3):
        look(place, hour)
    (run,) = Journal(place.store, place.settings).entries()
    assert set(queued(place)) == {run.job.id}
    assert len(queued(place)) == 1
    assert Journal(place.store, place.settings).is_sent(run)
    end(place, run.job.id)
    assert look(place, 99).started == []


def test_of_two_who_look_at_once_one_starts_it(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefer_all(place, captions(place, 3))
    claim = Journal.claim

    def somebody_was_faster(journal: Journal, entry: Retraining) -> bool:
        monkeypatch.undo()
        assert len(look(place).started) == 1
        return claim(journal, entry)

    monkeypatch.setattr(Journal, "claim", somebody_was_faster)
    assert look(place).started == []
    assert len(Journal(place.store, place.settings).entries()) == 1
    assert len(queued(place)) == 1


def test_processes_that_watch_start_it_once_and_end_when_asked(
    place: World, tmp_path: Path
) -> None:
    prefer_all(place, captions(place, 3))
    place.store.put(place.output, f"{place.prefix}retraining/rules.yaml", RULES)
    env = {**os.environ, **place.env}
    command = ["jamak", "retrain", "--watch"]
    watchers = [
        WarmProcess(f"{n}", command, log=tmp_path / f"{n}.log", env=env, cwd=Path.cwd())
        for n in range(2)
    ]
    journal = Journal(place.store, place.settings)
    try:
        wait_until(lambda: any(map(journal.is_sent, journal.entries())), 45, "a run that was sent")
    finally:
        stop(watchers, patience_s=20)
    (run,) = journal.entries()
    assert queued(place) == [run.job.id]
    assert [one.poll() for one in watchers] == [0, 0]
    logs = [one.log.read_text() for one in watchers]
    assert sum("started" in log for log in logs) == 1


def test_a_run_that_redis_lost_is_sent_again(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prefer_all(place, captions(place, 3))
    (run,) = look(place).started
    forget(place)
    assert look(place).sent_again == []  # it may be on its way
    monkeypatch.setattr(retraining, "just_asked", lambda at: False)
    assert [one.number for one in look(place).sent_again] == [1]
    assert queued(place) == [run.job.id]
    Training(place.settings, place.store, train_app(place.settings)).cancel(run.job.id)
    assert (look(place).sent_again, queued(place)) == ([], [])


def test_rules_that_cannot_be_read_keep_no_run_from_being_sent(place: World) -> None:
    prefer_all(place, captions(place, 3))
    look_and_die(place, "asked.json", after=False)

    def broken() -> None:
        raise ConfigError("rules.yaml is no YAML", cure="Correct it.")

    def last_look() -> float:
        name = "jamak_retrain_last_look_timestamp_seconds"
        return registry_of("retrainer").get_sample_value(name) or 0.0

    health, before = LoopHealth(), last_look()
    RetrainWatcher(looking(place, 1), broken, lambda pause_s: True, health).run()
    (run,) = Journal(place.store, place.settings).entries()
    assert queued(place) == [run.job.id]
    assert "rules.yaml is no YAML" in (health.ready() or "")
    assert last_look() == before
    RetrainWatcher(looking(place, 1), lambda: None, lambda pause_s: True, health).run()
    assert (last_look() > before, health.ready()) == (True, None)


def test_a_run_that_was_cancelled_is_over_whoever_had_it(place: World) -> None:
    made = captions(place, 6)
    prefer_all(place, made[:3])
    (run,) = look(place).started
    TrainingRecords(place.store, place.output, place.prefix).cancel(run.job.id)
    forget(place)  # and its trainer was killed
    prefer_all(place, made)
    (second,) = look(place, 25).started
    assert second.number == 2


def test_a_run_whose_account_was_deleted_is_over(place: World) -> None:
    made = captions(place, 6)
    prefer_all(place, made[:3])
    (run,) = look(place).started
    end(place, run.job.id)
    for info in list(place.store.list(place.output, f"{place.prefix}training/")):
        place.store.delete(place.output, info.key)
    forget(place)
    prefer_all(place, made)
    told = look(place, 24 * 200)
    assert (told.sent_again, [one.number for one in told.started]) == ([], [2])


# The verb


def test_a_dry_run_says_what_would_be_and_changes_nothing(place: World, tmp_path: Path) -> None:
    prefer_all(place, captions(place, 3))
    with pytest.raises(UsageError, match=r"retraining/rules\.yaml does not exist"):
        inside(place, retrain, "--dry-run")
    path = tmp_path / "rules.yaml"
    path.write_bytes(RULES)
    told = json.loads(inside(place, retrain, "--dry-run", "--rules", str(path), "--json").stdout)
    (rule,) = told["rules"]
    assert (rule["due"], rule["new"], rule["rows"]) == (True, {"preference": 3}, 3)
    assert (told["started"], told["runs"], queued(place)) == ([], [], [])
    assert not list(place.store.list(place.output, f"{place.prefix}retraining/"))


def test_rules_lie_in_the_output_for_all_who_look(place: World) -> None:
    prefer_all(place, captions(place, 3))
    place.store.put(place.output, f"{place.prefix}retraining/rules.yaml", RULES)
    done = inside(place, retrain)
    (job_id,) = queued(place)
    assert f"queued: training job {job_id}" in done.stdout
    assert "queued" not in inside(place, retrain).stdout
    assert job_id in inside(place, retrain, "--dry-run").stdout
    TrainingRecords(place.store, place.output, place.prefix).end(
        TrainOutcome(
            job_id=job_id,
            status="failed",
            message="its rows are gone",
            seconds=1.0,
            created_at=NOW,
        )
    )
    assert "its rows are gone" in inside(place, retrain, "--dry-run").stdout
    key = f"{place.prefix}training/{job_id}.json"
    place.store.put(place.output, key, b"{}")
    shown = inside(place, retrain, "--dry-run")
    assert job_id in shown.stdout and key in shown.stderr
    other = replace(place, redis_prefix=f"{place.redis_prefix}-other")
    with pytest.raises(UsageError):
        inside(other, retrain)
