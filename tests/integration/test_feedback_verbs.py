"""`jamak feedback`: said by hand, brought by the file, and by way of annotation tools."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from producer.feedback.heard import Heard
from producer.feedback.lessons import lessons_of
from producer.feedback.store import FeedbackStore
from shared.bucket.keys import feedback_folder
from shared.bucket.records import Records
from shared.errors import JamakError
from shared.feedback import (
    Correction,
    Feedback,
    Judged,
    Preference,
    Thumb,
    about,
    feedback_name,
    text_digest,
)
from shared.messages import Caption, Video
from tests.backlogs import caption_of
from tests.terminal import Said, jamak_here
from tests.world import World

pytestmark = pytest.mark.integration

LAYOUTS = Path(__file__).parents[1] / "layouts"
BLUE, RED = "파란 공이 굴러갑니다.", "빨간 공이 굴러갑니다."
AT = datetime(2026, 11, 30, 8, tzinfo=UTC)
KIM, LEE, PARK = "label-studio:7", "label-studio:9", "label-studio:10"


class Place:
    """An output of its own in the world, with captions of two videos."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, name: str) -> None:
        env = {**world.env, "JAMAK_OUTPUT": f"s3://{world.output}/{world.redis_prefix}/{name}/"}
        for variable, value in env.items():
            patch.setenv(variable, value)
        self._patch, self.world, self.folder = patch, world, f"{world.redis_prefix}/{name}/in/"
        self.settings = world.settings.model_copy(update={"output": env["JAMAK_OUTPUT"]})
        self.records = Records(world.store, self.settings)
        self.first, self.second = (
            self.caption("a 공.mp4", BLUE),
            self.caption("b.mp4", "개가 잡니다."),
        )

    def caption(self, name: str, text: str, generation: int = 0) -> Caption:
        key = self.folder + name
        etag = self.world.store.put(self.world.videos, key, key.encode())
        video = Video(bucket=self.world.videos, key=key, etag=etag, size_bytes=len(key.encode()))
        job = self.world.job(video, generation=generation)
        caption = caption_of(job).model_copy(update={"text": text})
        assert self.records.write(job, caption)
        self.records.render(caption)
        return caption

    def judged(self, caption: Caption) -> Judged:
        return about(caption, self.records.place_of(caption))

    @property
    def videos(self) -> str:
        return f"s3://{self.world.videos}/{self.folder}"

    def jamak(self, *words: str, **how: Any) -> Said:
        return jamak_here(self._patch, "feedback", *words, **how)

    def told(self, *words: str, code: int = 0) -> Any:
        done = self.jamak(*words, "--json")
        assert done.code == code, done.err
        (line,) = done.out.splitlines()
        return json.loads(line)

    def kept(self) -> list[Feedback]:
        return [one.said for one in FeedbackStore(self.world.store, self.settings).all()]

    def objects(self) -> set[str]:
        folder = feedback_folder(self.settings.output_prefix)
        return {one.key for one in self.world.store.list(self.settings.output_bucket, folder)}


@pytest.fixture
def place(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Place:
    return Place(world, monkeypatch, request.node.name)


def test_what_is_said_of_a_video_is_said_of_its_record(place: Place) -> None:
    uri, record = place.first.video.uri, place.records.place_of(place.first)
    for what in (uri, record):
        for said in (
            ["--up"],
            ["--correction", unicodedata.normalize("NFD", RED)],
            ["--chosen", "빨간 공"],
            ["--rejected", "초록 공"],
        ):
            assert place.jamak("add", what, "--reviewer", "kim", *said).code == 0
    assert len(place.objects()) == 8
    kept = {(item.kind, item.liked) for item in place.kept()}
    assert kept == {
        ("thumb", True),
        ("correction", False),
        ("preference", False),
        ("preference", True),
    }
    assert {item.about for item in place.kept()} == {place.judged(place.first)}
    assert {item.text for item in place.kept() if isinstance(item, Correction)} == {RED}
    long = "빨간 공이 굴러갑니다." * 12  # a file of this name there cannot be
    assert place.told("add", uri, "--reviewer", "kim", "--correction", long)["text"] == long
    assert "kept: thumb on s3://" in place.jamak("add", uri, "--reviewer", "lee", "--up").out


def test_what_cannot_be_said_is_refused(place: Place) -> None:
    uri, record = place.first.video.uri, place.records.place_of(place.first)
    view = place.records.places_of_views(place.world.videos, place.first.video.key)[0]
    for what, words, said in (
        (uri, ["--correction", "파란 공</s>"], "--correction: a text holds </s>"),
        (uri, ["--correction", BLUE], "--correction: the correction is what the caption says"),
        (uri, ["--chosen", "개", "--rejected", "소"], "neither chosen nor rejected is the caption"),
        (uri, ["--chosen", BLUE], "chosen and rejected are the same text"),
        (f"{place.videos}none.mp4", ["--up"], "does not exist"),
        (f"s3://{place.world.videos}", ["--up"], "is neither a video nor a record"),
        (f"{record}x", ["--up"], "there is no such record"),
        (view, ["--up"], "is neither a video nor a record"),
        (uri, ["--up", "--down"], "say one thing of a caption at a time"),
    ):
        done = place.jamak("add", what, *words, "--reviewer", "kim")
        assert (done.code, said in done.err) == (2, True), done.err
    assert place.objects() == set()


def _annotated(file: Path, tasks: list[dict[str, Any]], place: Place, to: Path) -> None:
    """As Label Studio would export those tasks."""
    layout = json.loads(file.read_text())
    mine = next(one for one in tasks if one["data"]["video"] == place.first.video.uri)
    other = next(one for one in tasks if one is not mine)
    layout[0]["data"], layout[1]["data"] = mine["data"], other["data"]
    body = json.dumps(layout, ensure_ascii=False)
    to.write_text(body.replace(RED, unicodedata.normalize("NFD", RED)))


def test_label_studio_gets_captions_and_brings_back_what_was_said(
    place: Place, tmp_path: Path
) -> None:
    place.caption("a 공.mp4", "공이 굴러갑니다.", generation=1)  # is shown; the other is beside it
    newest = place.records.show(place.world.videos, place.first.video.key)
    file = tmp_path / "tasks.json"
    told = place.told("export", place.videos, "--to", str(file), "--format", "label-studio")
    assert (told["tasks"], told["pairs"]) == (2, 1)
    tasks = json.loads(file.read_text())
    data = next(one["data"] for one in tasks if one["data"]["text1"])
    assert data["caption"] == newest.text
    assert {data["text1"], data["text2"]} == {newest.text, BLUE}
    assert data["record"] == place.records.place_of(newest)

    _annotated(LAYOUTS / "feedback-label-studio.json", tasks, place, tmp_path / "export.json")
    place.caption("a 공.mp4", "또 다른 공이 굴러갑니다.", generation=2)  # nobody was shown it
    words = ["import", "label-studio", str(tmp_path / "export.json")]
    assert place.told(*words, "--dry-run")["added"] == {
        "correction": 1,
        "preference": 1,
        "thumb": 2,
    }
    assert place.objects() == set()
    told = place.told(*words)
    assert [(one["place"], one["why"]) for one in told["unsaid"]] == [
        ("export.json#1.3", "its annotator skipped it"),
        ("export.json#2", "nobody has annotated it"),
    ]
    judged, source = place.judged(newest), "label-studio"
    expected: list[Feedback] = [
        Thumb(up=False, about=judged, reviewer=KIM, at=AT.replace(minute=30), source=source),
        Preference(
            chosen=data["text2"],
            rejected=data["text1"],
            about=judged,
            reviewer=KIM,
            at=AT.replace(minute=30),
            source=source,
        ),
        Correction(text=RED, about=judged, reviewer=LEE, at=AT.replace(minute=10), source=source),
        Thumb(up=True, about=judged, reviewer=PARK, at=AT.replace(minute=20), source=source),
    ]
    assert set(place.kept()) == set(expected)
    told = place.told(*words)
    assert (told["added"], told["already"]) == ({}, 4)
    # Exported in another way, with ids alone: the same people.
    export = json.loads((tmp_path / "export.json").read_text())
    export[0]["annotations"][0]["completed_by"] = 7
    (tmp_path / "export.json").write_text(json.dumps(export))
    told = place.told(*words)
    assert (told["added"], told["already"]) == ({}, 4)
    assert len(place.objects()) == 4

    # What was said stands beside the caption for others to decide.
    again = tmp_path / "again.json"
    told = place.told("export", "--to", str(again), "--format", "label-studio")
    assert (told["tasks"], told["pairs"]) == (1, 1)
    data = json.loads(again.read_text())[0]["data"]
    assert {data["text1"], data["text2"]} == {newest.text, BLUE}


def test_one_bad_line_keeps_no_other_from_being_taken(place: Place, tmp_path: Path) -> None:
    def task(**data: str) -> dict[str, Any]:
        result = [{"type": "choices", "from_name": "v", "value": {"choices": ["좋음"]}}]
        annotation = {"completed_by": 1, "created_at": "2026-11-30T08:00:00Z", "result": result}
        return {"data": data, "annotations": [annotation]}

    file = tmp_path / "export.json"
    good = task(video=place.first.video.uri, caption=BLUE)
    half, named = task(**good["data"]), task(video="https://[x/a.mp4")
    half["annotations"][0]["result"] += [{"type": "textarea", "value": {"text": ["공 \ud83d"]}}]
    file.write_text(json.dumps([half, named, good]))
    told = place.told("import", "label-studio", str(file), code=1)
    assert told["added"] == {"thumb": 1}
    assert [one["place"] for one in told["refused"]] == ["export.json#1", "export.json#2"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
def test_what_is_said_at_no_time_is_refused(place: Place, tmp_path: Path, at: str) -> None:
    file = tmp_path / "said.jsonl"
    said = {"kind": "thumb", "up": True, "reviewer": "kim", "about": place.first.video.uri}
    file.write_text(json.dumps(said | {"at": at}))
    (one,) = place.told("import", "jsonl", str(file), code=1)["refused"]
    assert "no such time" in one["why"]
    assert place.objects() == set()


@pytest.mark.parametrize(
    ("results", "kinds"),
    [
        ([("pairwise", {"selected": "right"})], ["preference"]),
        ([("choices", {"choices": ["나쁨"]})], ["down"]),
        ([("choices", {"choices": ["틀림"]})], []),
        ([("rating", {"rating": 3})], []),
        ([], ["up"]),
    ],
)
def test_a_text_that_came_along_is_no_approval_beside_anything_else(
    place: Place, tmp_path: Path, results: list[tuple[str, Any]], kinds: list[str]
) -> None:
    """Label Studio's editor sends what was filled in, touched or not."""
    told = [
        {"from_name": kind, "to_name": "text1,text2", "type": kind, "value": value}
        for kind, value in [*results, ("textarea", {"text": [BLUE]})]
    ]
    data = {"caption": BLUE, "text1": BLUE, "text2": RED}
    data["record"] = place.records.place_of(place.first)
    annotation = {"completed_by": 1, "updated_at": "2026-11-30T08:00:00Z", "result": told}
    file = tmp_path / "export.json"
    file.write_text(json.dumps([{"data": data, "annotations": [annotation]}]))
    place.told("import", "label-studio", str(file))
    said = [
        ("up" if one.up else "down") if isinstance(one, Thumb) else one.kind for one in place.kept()
    ]
    assert said == kinds


def test_argilla_gets_captions_and_brings_back_what_was_said(place: Place, tmp_path: Path) -> None:
    assert place.jamak("add", place.first.video.uri, "--reviewer", "kim", "--chosen", RED).code == 0
    file = tmp_path / "records.json"
    assert place.told("export", "--to", str(file), "--format", "argilla")["pairs"] == 1
    (record,) = json.loads(file.read_text())
    assert set(record["fields"].values()) == {BLUE, RED}
    assert record["suggestions"]["correction"]["value"] == BLUE

    (layout,) = json.loads((LAYOUTS / "feedback-argilla.json").read_text())
    layout |= {name: record[name] for name in ("id", "fields", "metadata", "suggestions")}
    export = tmp_path / "export.json"
    export.write_text(json.dumps([layout]))
    words = ["import", "argilla", str(export)]
    assert place.told(*words)["added"] == {"correction": 1, "preference": 1, "thumb": 3}
    user = "argilla:3c9a7f0e-5a55-4e0c-9d39-5c4a0d6d2f0"
    said = {item.reviewer: item for item in place.kept() if isinstance(item, Thumb | Correction)}
    assert {one.removeprefix(user): item.liked for one, item in said.items()} == {
        "1": False,
        "2": False,
        "3": True,
        "4": False,
    }
    (pair,) = (
        item for item in place.kept() if isinstance(item, Preference) and item.source != "jamak"
    )
    assert (pair.chosen, pair.rejected) == (record["fields"]["text1"], record["fields"]["text2"])
    assert {item.about for item in place.kept()} == {place.judged(place.first)}

    # Argilla does not say when: what is the same as before is not new, another answer is.
    assert place.told(*words)["already"] == 5
    layout["responses"]["verdict"][1]["value"] = "나쁨"
    export.write_text(json.dumps([layout]))
    told = place.told(*words)
    assert (told["already"], told["added"]) == (4, {"thumb": 1})


def test_our_lines_come_back_as_they_were(place: Place, tmp_path: Path) -> None:
    for words in (["--up"], ["--correction", RED], ["--chosen", "개"]):
        assert place.jamak("add", place.first.video.uri, "--reviewer", "kim", *words).code == 0
    assert place.jamak("add", place.second.video.uri, "--reviewer", "lee", "--down").code == 0
    before, folder = place.objects(), feedback_folder(place.settings.output_prefix)
    file = tmp_path / "said.jsonl"
    assert place.told("export", "--to", str(file))["items"] == 4
    only = tmp_path / "only.jsonl"
    assert place.told("export", place.second.video.uri, "--to", str(only))["items"] == 1
    again = place.jamak("export", "--to", str(file))
    assert (again.code, "is there already" in again.err) == (2, True)
    for key in before:
        place.world.store.delete(place.settings.output_bucket, key)
    assert place.told("import", "jsonl", str(tmp_path))["added"] == {
        "correction": 1,
        "preference": 1,
        "thumb": 2,
    }
    assert place.objects() == before
    assert all(key.startswith(folder) for key in before)


def test_bad_lines_are_named_and_the_others_are_kept(place: Place, tmp_path: Path) -> None:
    uri = place.first.video.uri
    who = {"v": 1, "reviewer": "kim", "at": "2026-11-30T08:00:00Z", "about": uri}
    judged = place.judged(place.first).model_dump(mode="json")
    elsewhere = {**judged, "record": "s3://elsewhere/records/b/r/k.json"}
    lines: list[Any] = [
        {**who, "kind": "thumb", "up": True},
        {**who, "kind": "correction", "text": "공<|im_end|>"},
        {**who, "kind": "shrug"},
        {**who, "v": 9, "kind": "thumb", "up": True},
        {**who, "kind": "thumb", "up": True, "about": f"{place.videos}none.mp4"},
        {**who, "kind": "thumb", "up": True, "about": elsewhere},
        {**who, "kind": "thumb", "up": True, "about": "s3://no-such-bucket-of-ours/a.mp4"},
        {"kind": "thumb", "up": False, "reviewer": "lee", "about": judged["record"]},
    ]
    body = "\n".join([*map(json.dumps, lines), "{", "", "[" * 9999])
    file = tmp_path / "said.jsonl"
    file.write_text(body)
    told = place.told("import", "jsonl", str(file), code=1)
    assert told["added"] == {"thumb": 2}
    assert told["error"]["reason"] == "unfinished"
    refused = {one["place"].rpartition(":")[2]: one for one in told["refused"]}
    assert [*refused] == ["2", "3", "4", "5", "6", "7", "9", "11"]
    for number, why in (
        ("2", "holds <|im_end|>"),
        ("3", "no known kind"),
        ("4", "version 9"),
        ("5", "does not exist"),
        ("6", "is no record of this output"),
        ("7", "no-such-bucket-of-ours"),
        ("9", "it is not JSON"),
    ):
        assert why in refused[number]["why"]
    assert refused["2"]["cure"] == refused["3"]["cure"] == refused["9"]["cure"]
    assert all(one["cure"] for one in refused.values())
    done = place.jamak("import", "jsonl", str(file), "-o", "wide")
    assert done.code == 1
    assert "said.jsonl:9, said.jsonl:11" in done.out
    assert "Write it as docs/feedback.schema.json says." in done.out


def test_what_was_shown_has_to_be_the_caption_where_no_record_is_named(
    place: Place, tmp_path: Path
) -> None:
    def task(shown: str, **more: Any) -> dict[str, Any]:
        result = {"type": "choices", "from_name": "v", "value": {"choices": ["좋음"], **more}}
        annotation = {"completed_by": 1, "created_at": "2026-11-30T08:00:00Z", "result": [result]}
        return {
            "data": {"video": place.first.video.uri, "caption": shown},
            "annotations": [annotation],
        }

    nobody = task(BLUE)
    del nobody["annotations"][0]["completed_by"]
    file = tmp_path / "export.json"
    file.write_text(json.dumps([task(BLUE), task("옛 자막"), task(BLUE, start=1, end=2), nobody]))
    told = place.told("import", "label-studio", str(file), code=1)
    assert told["added"] == {"thumb": 1}
    assert [one["why"] for one in told["refused"]] == [
        "what was shown is not the caption that its video has now",
        "it is about a part of its video",
        "it does not say who said it",
    ]


def test_of_lines_without_a_time_the_last_counts(place: Place, tmp_path: Path) -> None:
    uri = place.first.video.uri
    line = {"kind": "thumb", "reviewer": "kim", "about": uri}
    for number in range(12):
        others = [{**line, "reviewer": f"kim {number}", "up": up} for up in (True, False)]
        file = tmp_path / "said.jsonl"
        file.write_text("\n".join(map(json.dumps, others)))
        told = place.told("import", "jsonl", str(file))
        assert (told["added"], told["taken_back"]) == ({"thumb": 1}, 1)
        told = place.told("import", "jsonl", str(file))
        assert (told["added"], told["already"], told["taken_back"]) == ({}, 1, 1)
    said = FeedbackStore(place.world.store, place.settings).all()
    assert [item.said.liked for item in said] == 12 * [False]
    assert [lesson.item.said.liked for lesson in lessons_of(said)[0]] == [False]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (["개", False], {"correction", "thumb"}),  # which confirms it
        (["개", True], {"thumb"}),
        ([False, "개"], {"correction"}),  # which says so, too
        ([True, "개"], {"correction"}),
        (["개", "소"], {"correction"}),
    ],
)
def test_a_correction_is_kept_until_a_thumb_up_takes_it_back(
    place: Place, tmp_path: Path, said: list[Any], kept: set[str]
) -> None:
    """And however often the file is brought."""
    line = {"reviewer": f"{said}", "about": place.first.video.uri}
    lines = [
        {**line, "kind": "thumb", "up": one}
        if isinstance(one, bool)
        else {**line, "kind": "correction", "text": f"{one}가 뜁니다."}
        for one in said
    ]
    file = tmp_path / "said.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert set(place.told("import", "jsonl", str(file))["added"]) == kept
    for _ in range(2):
        assert place.told("import", "jsonl", str(file))["added"] == {}


def test_a_word_from_the_future_keeps_nobody_from_speaking_once(
    place: Place, tmp_path: Path
) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    FeedbackStore(place.world.store, place.settings).add(
        Thumb(up=False, about=place.judged(place.first), reviewer="ahead", at=later)
    )
    file = tmp_path / "said.jsonl"
    line = {"kind": "thumb", "up": True, "reviewer": "ahead", "about": place.first.video.uri}
    file.write_text(json.dumps(line))
    added = [place.told("import", "jsonl", str(file))["added"] for _ in range(3)]
    assert added == [{"thumb": 1}, {}, {}]


@pytest.mark.parametrize("kind", [["thumb"], {"a": 1}, 7, None])
def test_what_has_no_kind_is_told_and_passed_over(place: Place, tmp_path: Path, kind: Any) -> None:
    """Wherever it lies: who watches trials reads it, too."""
    body = json.dumps({"kind": kind, "up": True}).encode()
    bucket = place.settings.output_bucket
    key = f"{feedback_folder(place.settings.output_prefix)}{feedback_name(body)}.json"
    place.world.store.put(bucket, key, body)
    unread: list[JamakError] = []
    FeedbackStore(place.world.store, place.settings).all(unread.append)
    assert len(unread) == 1
    file = tmp_path / "said.jsonl"
    file.write_bytes(body)
    told = place.told("import", "jsonl", str(file), code=1)
    assert [one["place"] for one in told["refused"]] == ["said.jsonl:1"]
    place.world.store.delete(bucket, key)


def test_what_is_wrong_with_lines_is_told_in_their_order(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text("1\n" * 3)
    told = place.told("import", "jsonl", str(file), code=1)
    assert [one["place"] for one in told["refused"]] == [f"said.jsonl:{n}" for n in (1, 2, 3)]


def test_a_question_that_nobody_has_answered_is_told(place: Place, tmp_path: Path) -> None:
    def task(name: str, kind: str, **value: Any) -> dict[str, Any]:
        result = {"type": kind, "from_name": name, "value": value}
        annotation = {"completed_by": 1, "created_at": "2026-11-30T08:00:00Z", "result": [result]}
        data = {"video": place.first.video.uri, "caption": BLUE}
        return {"data": data, "annotations": [annotation]}

    file = tmp_path / "export.json"
    thumb = task("v", "choices", choices=["좋음"])
    file.write_text(json.dumps([thumb, task("note", "textarea", text=["메모"])]))
    done = place.jamak("import", "label-studio", str(file), "--question", "correction")
    assert (done.code, "kept: thumb 1" in done.out) == (0, True)
    assert "nobody has answered a question 'correction' with a text" in done.err
    assert "--question takes note" in done.err
    file.write_text(json.dumps([thumb]))
    done = place.jamak("import", "label-studio", str(file), "--question", "correction")
    assert (done.code, done.err) == (0, "")
    record = {
        "id": "1",
        "fields": {"caption": BLUE, "video": place.first.video.uri},
        "responses": {"verdict": [{"value": "좋음", "user_id": "u"}]},
    }
    file.write_text(json.dumps([record]))
    done = place.jamak("import", "argilla", str(file), "--question", "correction")
    assert (done.code, done.err) == (0, "")
    record["responses"] |= {"note": [{"value": "메모", "user_id": "u"}]}  # type: ignore[operator]
    file.write_text(json.dumps([record]))
    done = place.jamak("import", "argilla", str(file), "--question", "correction", "--dry-run")
    assert "--question takes note" in done.err


def test_it_is_told_how_much_was_said_by_whom(place: Place) -> None:
    assert place.jamak("list").out == "no feedback\n"
    for caption, reviewer in ((place.first, "kim"), (place.second, "kim"), (place.first, "lee")):
        done = place.jamak("add", caption.video.uri, "--reviewer", reviewer, "--up")
        assert done.code == 0
    told = place.told("list")
    assert (told["count"], told["captions"]) == (3, 2)
    assert [(one["kind"], one["reviewer"], one["count"]) for one in told["by"]] == [
        ("thumb", "kim", 2),
        ("thumb", "lee", 1),
    ]
    assert place.told("list", place.second.video.uri)["count"] == 1
    assert place.told("list", "--since", "2099-01-01")["count"] == 0
    shown = place.jamak("list").out.splitlines()
    assert shown[1].split()[:3] == ["thumb", "kim", "2"]
    assert shown[-1] == "3 said of 2 captions"


def test_what_names_a_record_elsewhere_keeps_no_task_from_people(
    place: Place, tmp_path: Path
) -> None:
    ours = place.judged(place.first)
    elsewhere = ours.model_copy(update={"record": "s3://no-such-bucket-of-ours/k.json"})
    for judged in (ours, elsewhere):
        item = Thumb(up=True, about=judged, reviewer="kim", at=AT)
        FeedbackStore(place.world.store, place.settings).add(item)
    file = tmp_path / "tasks.json"
    place.told("export", "--to", str(file), "--format", "label-studio")
    (task,) = json.loads(file.read_text())
    assert task["data"]["record"] == ours.record


def test_who_changes_their_mind_is_heard() -> None:
    judged = Judged(
        record="s3://o/records/b/r/k.json",
        recipe_id="r",
        video=Video(bucket="b", key="k", etag="e", size_bytes=1),
        text_sha256=text_digest(BLUE),
    )

    def thumb(up: bool, minute: int) -> Feedback:
        return Thumb(up=up, about=judged, reviewer="kim", at=AT.replace(minute=minute))

    heard = Heard([thumb(True, 1), thumb(False, 2)], datetime.now(UTC))
    assert heard.knows(thumb(False, 3), timed=False)
    assert not heard.knows(thumb(True, 3), timed=False)
    assert not heard.knows(thumb(False, 3), timed=True)
    assert heard.knows(thumb(True, 1), timed=True)
