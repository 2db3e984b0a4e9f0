"""English and Korean are both complete, and whatever is said comes through whole."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer
from rich.cells import cell_len

from producer.cli import run
from shared import language
from shared.errors import ConfigError
from shared.language import in_korean, is_korean, spoken, spoken_error
from shared.shown import without_passwords
from tests import phrases
from tests.terminal import speaking

HANGUL = re.compile(r"[가-힣]")
VALUES = "{x} a.*b(?)|\\1", "둘째 {0}", "3\nline", "`jamak cards` shows them. Nothing", "é%s$"
"""Of a message: braces, regular expressions, Korean, lines, and words of other phrases."""


def catalogue() -> dict[str, dict[str, str]]:
    return tomllib.loads(language.CATALOGUE.read_text(encoding="utf-8"))


@cache
def translated() -> dict[str, str]:
    return {english: korean for group in catalogue().values() for english, korean in group.items()}


def places(phrase: str) -> int:
    return len(language.around(phrase)) - 1


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (language.LANGUAGE, *language.LOCALE):
        monkeypatch.delenv(name, raising=False)


# Both are complete


def test_all_that_is_said_has_its_korean() -> None:
    lacking = {phrase: at for phrase, at in phrases.said().items() if phrase not in translated()}
    assert not lacking


def test_the_source_is_read_well_enough_to_find_messages_of_every_kind() -> None:
    assert {
        "there is no backlog {}",  # raised
        "Create it, or correct its name.",  # the cure of a class
        "{}: there is no such queue; its URL says {}, and AWS_DEFAULT_REGION {}",  # a choice
        "{}: the server answers a request for a range with {}",  # by a helper
        "Redis is loading its data",  # of a table
        "this clock is {} s behind {}'s",  # a finding
        "Instead of JAMAK_PROMPT.",  # the help of an option
        "What has its caption is left alone.",  # the help of a verb
        "why they wait",  # a heading
        "the bucket s3://{} does not exist (named by {})",  # told by the class itself
    } <= phrases.said().keys()


def test_nothing_that_we_say_looks_like_a_password() -> None:
    """Whatever is shown loses those (shared/shown.py), and a cure what it says in their place."""
    said = [text for pair in translated().items() for text in pair]
    assert [text for text in said if without_passwords(text) != text] == []


def test_no_korean_is_for_what_is_said_no_more() -> None:
    others = catalogue()
    theirs = others.pop("typer")
    ours = {english for group in others.values() for english in group}
    wrappers = set(others["wrappers"])
    assert not ours - phrases.written() - wrappers
    assert not theirs.keys() - _of_typer()


def _of_typer() -> set[str]:
    """What is in the source of Typer, of the parser that it brings, and of what checks values."""
    text = "".join(path.read_text() for path in Path(typer.__file__).parent.rglob("*.py"))
    return {english for english in catalogue()["typer"] if _is_in(english, text)} | {
        # Of pydantic's core, which is no Python.
        "Input should be a valid integer, unable to parse string as an integer",
        "Input should be a valid number, unable to parse string as a number",
        "Input should be greater than or equal to {}",
    }


def _is_in(english: str, text: str) -> bool:
    # Some of it is put together there.
    return all(word in text for part in language.around(english) for word in part.split())


def test_a_phrase_is_there_once() -> None:
    found = [english for group in catalogue().values() for english in group]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("group", catalogue())
def test_korean_is_korean_and_keeps_every_value(group: str) -> None:
    for english, korean in catalogue()[group].items():
        if group != "wrappers":
            assert HANGUL.search(korean), english
        values = [f"<{at}>" for at in range(places(english))]
        shown = korean.format(*map(language.Value, values))
        assert sorted(re.findall(r"<\d>", shown)) == values, english
        assert "{" not in shown, english


def test_korean_has_no_english_sentence_left_in_it() -> None:
    code = r"`[^`]*`|jamak [a-z -]+|[a-z0-9]+://\S*|[\w./*-]*[A-Z_/.:=*<>\[\]'-][\w./*-]*|\{[^}]*\}"
    for english, korean in translated().items():
        left = re.sub(code, " ", korean)
        assert not re.search(r"[a-z]{2,} +[a-z]{2,} +[a-z]{2,}", left), (english, left)


def test_no_particle_follows_a_value() -> None:
    """은 or 는, 이 or 가, 을 or 를: which one it is depends on how the value ends."""
    particle = re.compile(r"\}['\"`)]*(은|는|이|가|을|를|과|와|으로|로|이나|나|아|야)(?![가-힣])")
    assert not {korean for korean in translated().values() if particle.search(korean)}


def test_messages_and_cures_have_one_tone() -> None:
    for english in phrases.said():
        korean = translated()[english]
        assert not re.search(r"(한다|이다|된다|있다|없다|해라|하라)[.)]?$", korean), korean
    for korean in catalogue()["cures"].values():
        assert re.search(r"(세요|니다)\.$", korean), korean


# What is said comes through whole


def test_every_phrase_is_found_again_with_its_values() -> None:
    for english, korean in translated().items():
        if HANGUL.search(korean) is None or english in NEEDS_A_MESSAGE:
            continue
        between = language.around(english)[1:-1]
        fitting = [one for one in VALUES if not any(part in one for part in between)]
        values = tuple(fitting[: places(english)])
        # As many as there are places: some phrases have more than five.
        values += tuple(f"v{at}" for at in range(places(english) - len(values)))
        message = english.format(*values)
        assert in_korean(message) == korean.format(*map(language.Value, values)), english


NEEDS_A_MESSAGE = {
    phrase
    for phrase, korean in translated().items()
    if sum(map(str.isalpha, phrase)) < 6 and ":ours" in korean
}


@pytest.mark.parametrize(
    ("message", "korean"),
    [
        (
            "the output s3://a/b cannot be written: s3://a/b/c: access denied (403)",
            "출력 s3://a/b: 쓸 수 없습니다: s3://a/b/c: 접근이 거부되었습니다(403)",
        ),
        (
            "s3://x/: nothing listens there (connection refused) (Could not connect (1))",
            "s3://x/: 그곳에서 응답하는 서버가 없습니다(연결 거부) (Could not connect (1))",
        ),
        (
            "line 3 of keys: 'a' is not an S3 address",
            "keys의 3번째 줄: 'a': S3 주소가 아닙니다",
        ),
        (
            "handed on: another worker takes it; due in 4 s",
            "다른 워커에 넘김: 다른 워커가 처리합니다. 4초 뒤",
        ),
        (
            "the bucket s3://b does not exist (named by the option --to)",
            "s3://b 버킷이 없습니다(옵션 --to에서 지정)",
        ),
    ],
)
def test_a_message_in_a_message_is_told_as_well(message: str, korean: str) -> None:
    assert in_korean(message) == korean


def test_what_is_in_no_phrase_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_LANG", "ko")
    for message in ("An error (403): some. Other words; and more", "", "{} {0}", "한국어: {x}"):
        assert spoken(message) == message


def test_a_value_that_is_long_takes_no_time() -> None:
    assert in_korean("x: y (" * 20_000) is None


# Which language


@pytest.mark.parametrize(
    ("environ", "korean"),
    [
        ({}, False),
        ({"JAMAK_LANG": "ko"}, True),
        ({"JAMAK_LANG": "ko", "LC_ALL": "en_US.UTF-8"}, True),
        ({"JAMAK_LANG": "en", "LANG": "ko_KR.UTF-8"}, False),
        ({"JAMAK_LANG": "", "LANG": "ko_KR.UTF-8"}, True),
        ({"LC_ALL": "C", "LANG": "ko_KR.UTF-8"}, False),
        ({"LC_ALL": "", "LC_MESSAGES": "ko_KR", "LANG": "C"}, True),
        ({"LANG": "kok_IN.UTF-8"}, False),
        ({"JAMAK_LANG": "fr", "LANG": "ko_KR.UTF-8"}, True),
    ],
)
def test_the_language_is_asked_for_or_that_of_the_locale(
    environ: dict[str, str], korean: bool
) -> None:
    assert is_korean(environ) is korean


def test_english_is_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spoken("there is no backlog x") == "there is no backlog x"
    monkeypatch.setattr(language, "CATALOGUE", None)  # and the catalogue is not even opened
    language.phrases.cache_clear()
    assert spoken("Say --yes.") == "Say --yes."


def test_each_variable_of_an_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"JAMAK_A": "'1; 2' is not a whole number", "JAMAK_B": "there is no file x; y"}
    error = ConfigError("; ".join(f"{name}: {what}" for name, what in wrong.items()))
    error.evidence["variables"] = wrong
    assert spoken_error(error) == str(error)
    monkeypatch.setenv("JAMAK_LANG", "ko")
    assert spoken_error(error) == (
        "JAMAK_A: '1; 2': 정수여야 합니다; JAMAK_B: 파일이 없습니다: x; y"
    )


# The command


@pytest.mark.parametrize(
    ("line", "variables", "code", "says"),
    [
        ("show nonsense", {}, 2, "'nonsense': S3 주소가 아닙니다"),
        ("show", {}, 2, "인자가 빠졌습니다"),
        ("enqeu s3://b/k", {}, 2, "혹시 'enqueue'인가요?"),
        ("enqueue s3://b/k --frames x", {}, 2, "정수여야 합니다"),
        ("enqueue s3://b/k --frames 0", {}, 2, "1 이상이어야 합니다"),
        ("enqueue s3://b/k --frames", {}, 2, "옵션 '--frames': 값이 있어야 합니다"),
        ("enqueue s3://b/k --fram 1", {}, 2, "이런 옵션이 없습니다"),
        ("enqueue s3://b/k --sampling x", {}, 2, "다음 가운데 하나여야 합니다"),
        ("upload /no/such/file s3://b/", {}, 2, "파일이 없습니다: '/no/such/file'"),
        ("train sft", {}, 2, "옵션이 빠졌습니다"),
        ("cards more", {}, 2, "인자가 더 있습니다: more"),
        ("cards --json=1", {}, 2, "값을 받지 않습니다"),
        ("cards", {"JAMAK_DRAIN_S": "-1"}, 78, "JAMAK_DRAIN_S: '-1': 0 이상이어야 합니다"),
        ("cards", {"JAMAK_LANG": "fr"}, 78, "JAMAK_LANG: 'fr': 다음 가운데 하나여야 합니다"),
    ],
)
def test_errors_and_their_cures_are_korean(
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    variables: dict[str, str],
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with speaking(monkeypatch) as (_, err):
        assert run(line.split()) == code
    message, cure, *_ = err.text().splitlines()
    assert says in message
    assert HANGUL.search(cure)


def test_programs_read_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_LANG", "ko")
    with speaking(monkeypatch) as (out, err):
        assert run(["show", "nonsense", "--json"]) == 2
    assert "is not an S3 address" in out.text() and not HANGUL.search(out.text())
    assert "S3 주소가 아닙니다" in err.text()


def test_a_table_of_korean_is_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_LANG", "ko")
    for columns in (100, None):
        with speaking(monkeypatch, columns=columns) as (out, _):
            assert run(["cards"]) == 0
        heading = next(one for one in out.text().splitlines() if "메모리" in one)
        row = next(one for one in out.text().splitlines() if "caption.h100" in one)
        assert cell_len(heading.split("큐")[0]) == row.index("caption.h100")


def test_a_terminal_of_ascii_gets_something_for_korean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_LANG", "ko")
    with speaking(monkeypatch, encoding="ascii", columns=80) as (out, err):
        assert run(["cards"]) == 0
        assert run(["--help"]) == 0
        assert run(["show", "nonsense"]) == 2
    assert "????" in out.text() and "'nonsense'" in err.text()


def test_help_is_korean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_LANG", "ko")
    with speaking(monkeypatch, columns=100) as (out, _):
        assert run(["--help"]) == 0
        assert run(["enqueue", "--help"]) == 0
    assert "옵션" in out.text() and "자막이 있는 것은 그대로 둡니다." in out.text()
    assert "Show this message" not in out.text() and "What has its caption" not in out.text()
