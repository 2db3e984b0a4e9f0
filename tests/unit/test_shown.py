"""What others wrote reaches neither a terminal as commands nor a log with its password."""

import io
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import botocore.exceptions
import kombu
import pytest
import redis
from rich.progress import Progress, TextColumn
from rich.text import Text

from producer.cli import _explain
from shared.console import Whole, print_json
from shared.errors import BrokerUnavailable, ConfigError
from shared.settings import load_settings
from shared.shown import as_json, for_people, utc, visible, without_passwords
from shared.telemetry import configure_logging, get_logger

EVIL = "\x1b]0;title\x07\x9b31m\x7f\u202e\u2066\u2028\r"
"""It would rename the window, recolour the text and turn it round."""
PASSWORDS = ["plain", "a/b", "a@b", "a:b", "50%", "a#b", "a?b", "/@:%#?", "p%40ss", "'\"\\"]
ADDRESSES = [
    "redis://user:{}@host:6379/0",
    "rediss://:{}@host/0",
    "redis+cluster://user:{}@one:6379,two:6379/0",
    "sentinel://user:{}@one:26379;sentinel://user:{}@two:26379",
    "jamak://user:{}@host",
]


def obeyed(text: str) -> set[str]:
    return {sign for sign in set(text) & set(EVIL) if not sign.isprintable()}


def test_controls_are_shown_and_not_obeyed() -> None:
    assert visible("a\x1b[2Jb\x9bc\nd\t\u202e") == "a\\x1b[2Jb\\x9bc\nd\t\\u202e"
    assert visible("빨간 원 é 🎬 e\u0301") == "빨간 원 é 🎬 e\u0301"


def test_json_reads_back_as_it_was_and_commands_nothing() -> None:
    line = as_json({"key": EVIL, "빨간": 1})
    assert not obeyed(line)
    assert json.loads(line) == {"key": EVIL, "빨간": 1}


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_password_is_in_no_text(address: str, password: str) -> None:
    url = address.replace("{}", password)
    for text in (url, f"Error 111 connecting to {url}. Refused.", f"a={url!r}, b={url!r}"):
        shown = without_passwords(text)
        assert password not in shown.replace("plaintext", "")
        assert "***@" in shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b.mp4",
        "https://host/a@2x.mp4?v=1@2",
        "file:///a@b.mp4",
        "someone@example.com",
        "redis://host:6379/0",
        "write redis://user:password@host:port/0",
        "a://b and c@d",
    ],
)
def test_what_names_a_place_stays_whole(text: str) -> None:
    assert without_passwords(text) == text


def failed(what: Callable[[], object]) -> Exception:
    try:
        what()
    except Exception as error:
        return error
    raise AssertionError("it should fail")


WRONG = ("http://user:se/cr@et@host", "redis://user:se/cr@et@host:x/0")
AWAY = "redis://user:se%cr%40et@127.0.0.1:1/0"
ERRORS = [
    *(failed(lambda url=url: redis.Redis.from_url(url)) for url in WRONG),
    failed(lambda: kombu.Connection(AWAY).connect()),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://user:se%cr@et@127.0.0.1:1/"),
    botocore.exceptions.ProxyConnectionError(proxy_url="http://user:secr@et@proxy:1"),
    botocore.exceptions.ConnectTimeoutError(endpoint_url="https://user:secr@et@host/a"),
    ConfigError("sentinel://user:se/cr@et@one:1;sentinel://user:se?cr@et@two:2 is none"),
]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged in the test."""
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers, root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        configure_logging("info")
        yield stream
    root.handlers, root.level = before


def test_a_long_text_takes_no_longer_than_its_length_says() -> None:
    """Every line of a log is looked through, and what was set aside may have 64 KiB."""
    text = "a." * (32 << 10)
    since = time.monotonic()
    assert without_passwords(text) == text
    assert time.monotonic() - since < 10  # a minute, if each of its words is followed to the end


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_libraries_that_quote_an_address_tell_no_password(
    error: Exception, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = "".join(traceback.format_exception(error))
    _explain(BrokerUnavailable(f"it cannot be reached ({error})"), as_json=True)
    get_logger("a.test").error("away", message=str(error), error=error, told={"why": [str(error)]})
    logging.getLogger("kombu").error("%s", error, exc_info=error)
    told = "".join((for_people(trace), *capsys.readouterr(), log.getvalue()))
    assert "et@" not in told
    assert "cr@" not in told


def test_a_log_line_commands_nothing(log: io.StringIO) -> None:
    get_logger("a.test").info("a caption", key=EVIL, text=[EVIL])
    logging.getLogger("a.library").warning(EVIL)
    lines = log.getvalue().splitlines()
    assert len(lines) == 2
    assert not obeyed("".join(lines))
    assert json.loads(lines[0])["key"] == EVIL


def test_a_console_and_a_bar_command_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for terminal in (True, False):
        screen = io.StringIO()
        console = Whole(file=screen, force_terminal=terminal, color_system=None)
        console.print(Text(EVIL), EVIL)
        with Progress(TextColumn("{task.description}", markup=False), console=console) as bars:
            bars.add_task(EVIL, total=1)
        written = screen.getvalue()
        assert obeyed(written) <= set("\x1b\r")  # the bar's own
        assert "\x1b]" not in written
    print_json({"key": EVIL})
    assert not obeyed(capsys.readouterr().out)


@pytest.mark.parametrize("password", ["12/34", "12?34", "12#34", "1 2", "1\n2"])
def test_an_address_that_reads_as_another_is_refused_without_its_password(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`12` would be the port of the host `user`, and in every message."""
    monkeypatch.setenv("JAMAK_REDIS_URL", f"redis://user:{password}@host:6379/0")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "12" not in str(caught.value)


def test_moments_of_several_zones_are_told_in_one() -> None:
    seoul = datetime(2026, 11, 30, 8, 0, 7, tzinfo=timezone(timedelta(hours=9)))
    assert utc(seoul) == "2026-11-29 23:00 UTC"
    assert utc(seoul, seconds=True) == "2026-11-29 23:00:07 UTC"
