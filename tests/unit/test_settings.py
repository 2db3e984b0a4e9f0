from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import Settings, configuration_markdown, load_settings

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
