from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import (
    Settings,
    as_typed,
    configuration_markdown,
    load_settings,
    unknown_variables,
)

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_about_configuration_is_what_the_class_says() -> None:
    assert DOC.read_text() == configuration_markdown(), (
        "run: python -m shared.settings > docs/configuration.md"
    )


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_CONCURRENCY", "many")
    monkeypatch.setenv("JAMAK_OUTPUT", "captions")
    with pytest.raises(ConfigError, match=r"JAMAK_OUTPUT.*JAMAK_CONCURRENCY"):
        load_settings()


@pytest.mark.parametrize(
    ("value", "bucket", "prefix"),
    [("s3://out", "out", ""), ("s3://out/", "out", ""), ("s3://out/a/b", "out", "a/b/")],
)
def test_output_is_a_bucket_and_a_prefix(value: str, bucket: str, prefix: str) -> None:
    settings = Settings(output=value)
    assert (settings.output_bucket, settings.output_prefix) == (bucket, prefix)


def test_a_password_never_shows() -> None:
    assert "hunter2" not in repr(Settings(redis_url="redis://:hunter2@host:1/0"))


def test_a_prompt_that_cannot_be_answered_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAMAK_PROMPT", "USER: 묘사해주세요. ASSISTANT:")
    with pytest.raises(ConfigError, match="<video> 0 times"):
        load_settings()
    monkeypatch.setenv("JAMAK_PROMPT", "USER: <video> 묘사해주세요.")
    with pytest.raises(ConfigError, match="does not end in 'ASSISTANT:'"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("JAMAK_OUTPT", "JAMAK_OUTPT is no setting of Jamak: did you mean JAMAK_OUTPUT?"),
        ("JAMAK_LOGLEVEL", "JAMAK_LOGLEVEL is no setting of Jamak: did you mean JAMAK_LOG_LEVEL?"),
        ("jamak_modle", "jamak_modle is no setting of Jamak: did you mean JAMAK_MODEL?"),
        ("JAMAK_ZZZ", "JAMAK_ZZZ is no setting of Jamak"),
    ],
)
def test_an_unknown_variable_is_named_with_the_one_that_was_meant(
    name: str, warning: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "x")
    load_settings()
    assert capsys.readouterr().err == f"jamak: {warning}\n"
    told: list[str] = []
    load_settings(told.append)
    assert told == [warning]
    assert capsys.readouterr().err == ""


def test_what_is_set_by_tests_and_by_kubernetes_is_no_typing_error() -> None:
    service = "JAMAK_REDIS"
    ours = ("JAMAK_TEST_REDIS_URL", "PATH", "XJAMAK_OUTPT", "JAMAK_REDIS_URL", "jamak_output")
    links = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_TLS", "PORT", "PORT_6379_TCP_ADDR")
    names = [*ours, *(f"{service}_{link}" for link in links)]
    assert unknown_variables(dict.fromkeys(names, "x")) == {}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("s3://a/,s3://b/c", ("s3://a/", "s3://b/c")),
        (" s3://a/ , s3://b/c, ", ("s3://a/", "s3://b/c")),
        ('["s3://a/", "s3://b/c"]', ("s3://a/", "s3://b/c")),
        ('["s3://a/with, comma/"]', ("s3://a/with, comma/",)),
        ("[]", ()),
    ],
)
def test_a_list_is_json_or_has_commas(
    text: str, read: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAMAK_SOURCES", text)
    assert load_settings().sources == read


def test_the_other_lists_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_VIDEO_SUFFIXES", ".mp4,.MOV")
    monkeypatch.setenv("JAMAK_ADDRESSES", "https://,file:///videos/")
    settings = load_settings()
    assert settings.video_suffixes == (".mp4", ".mov")
    assert settings.addresses == ("https://", "file:///videos/")


@pytest.mark.parametrize(
    "text",
    [
        "s3://a/day=1/=s3://b/,s3://c/=s3://d/e",
        '{"s3://a/day=1/": "s3://b/", "s3://c/": "s3://d/e/"}',
    ],
)
def test_pairs_are_json_or_have_equals_signs(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_OUTPUTS", text)
    assert load_settings().outputs == {"s3://a/day=1/": "s3://b/", "s3://c/": "s3://d/e/"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("SOURCES", "videos", "'videos' is not s3://.*or a JSON list"),
        ("SOURCES", '["s3://a/"', "begins like a JSON list and is none.*or a JSON list"),
        ("SOURCES", "[1]", "no text"),
        ("OUTPUTS", "s3://a/", "s3://bucket/prefix/=s3://other/"),
        ("OUTPUTS", '{"s3://a/": 1}', "no text"),
        ("VIDEO_SUFFIXES", "mp4", "'mp4' is no ending.*write .mp4,.mov"),
        ("CONCURRENCY", "many", "'many' is not a whole number"),
        ("DRAIN_S", "-1", "'-1' is not 0 or more"),
        ("METRICS_PORT", "70000", "'70000' is not 65535 or less"),
        ("CARD", "p100", "'p100' is not one of 't4'"),
        ("SEGMENTS", "some", "write auto, a number such as 8, or a length such as 30s"),
        ("REDIS_CA_FILE", "/nowhere.pem", "there is no file /nowhere.pem"),
        ("REDIS_URL", "localhost:6379", "write redis://user:password@host:port/0"),
        ("REDIS_URL", "http://host/", "write redis://user:password@host:port/0"),
        ("REDIS_URL", "redis://:hunter2#@host:1/0", "# as %23"),
        ("REDIS_URL", "redis://:hunter2/@host:1/0", "percent-encoded"),
        ("REDIS_URL", "redis://:hunter2@host:port/0", "percent-encoded"),
        ("REDIS_URL", "redis://:hunter2@host/first", "no number of a database"),
    ],
)
def test_an_error_names_the_variable_and_the_form(
    name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"JAMAK_{name}", text)
    with pytest.raises(ConfigError, match=rf"^JAMAK_{name}: .*{said}") as caught:
        load_settings()
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_what_the_page_shows_as_a_default_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.setenv(f"JAMAK_{name.upper()}", as_typed(field.default))
    assert load_settings().model_dump() == Settings.model_construct().model_dump()
    assert as_typed(Settings.model_fields["video_suffixes"].default).startswith(".mp4,.mov")


@pytest.mark.parametrize(
    ("value", "said"), [(",", "it lists nothing"), ("[" * 100_000, "it begins like a JSON list")]
)
def test_a_list_of_nothing_and_a_bottomless_one_are_told(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("JAMAK_SOURCES", value)
    with pytest.raises(ConfigError, match=rf"JAMAK_SOURCES.*{said}"):
        load_settings()
