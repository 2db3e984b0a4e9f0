"""What pip is configured to do, uv does too, or is not asked."""

import io
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra import install
from infra.install import IMPORTED, PIP, Teller, for_uv, run, settings_of

LISTING = """\
:env:.extra-index-url='https://cpu.example/whl'
:env:.no-cache-dir='1'
global.cert='/etc/ssl/ca.pem'
global.extra-index-url='https://a.example/ https://b.example/'
global.index-url='https://pypi.example/simple'
global.timeout='60'
install.find-links='/wheels'
"""


def test_the_environment_goes_before_files() -> None:
    assert settings_of(LISTING)["extra-index-url"] == "https://cpu.example/whl"
    files = "\n".join(LISTING.splitlines()[2:])
    told = for_uv(settings_of(files))
    assert told is not None
    arguments, environment = told
    assert arguments == [
        *("--index-strategy", "unsafe-best-match"),
        *("--find-links", "/wheels"),
    ]
    assert environment == {
        "SSL_CERT_FILE": "/etc/ssl/ca.pem",
        "UV_HTTP_TIMEOUT": "60",
        "UV_DEFAULT_INDEX": "https://pypi.example/simple",
        "UV_INDEX": "https://a.example/ https://b.example/",
    }


@pytest.mark.parametrize("setting", ["proxy", "client-cert", "no-binary", "what-comes-next-year"])
def test_what_uv_cannot_be_told_is_left_to_pip(setting: str) -> None:
    assert for_uv({"index-url": "https://pypi.example/simple", setting: "x"}) is None


def test_pip_says_what_it_is_configured_to_do(tmp_path: Path) -> None:
    """In the form that is read here."""
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://pypi.example/simple\nretries = 3\n")
    listing = subprocess.run(
        [*PIP, "config", "list"],
        env={"PATH": os.defpath, "PIP_CONFIG_FILE": str(config), "PIP_FIND_LINKS": "/a /b"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings = settings_of(listing)
    assert settings["index-url"] == "https://pypi.example/simple"
    assert settings["find-links"] == "/a /b"
    told = for_uv({name: settings[name] for name in ("index-url", "find-links", "retries")})
    assert told is not None
    assert told[0][2:] == ["--find-links", "/a", "--find-links", "/b"]
    assert told[1] == {"UV_DEFAULT_INDEX": "https://pypi.example/simple"}


def test_it_is_never_silent_for_long_and_says_what_matters() -> None:
    said = io.StringIO()
    with redirect_stdout(said), Teller(silent_s=0.05) as teller:
        teller.doing("fetching")
        deadline = time.monotonic() + 30
        while "still fetching" not in said.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        said_by_uv = "Downloading torch (180.0MiB)\\n + torch==2.13.0\\n  because: why\\n"
        program = f"print('{said_by_uv}'); raise SystemExit(3)"
        assert run(teller, [sys.executable, "-c", program], os.environ, (" + ",)) == 3
    assert "s  because: why" in said.getvalue()
    assert "s  still fetching" in said.getvalue()
    assert "s  Downloading torch (180.0MiB)" in said.getvalue()
    assert "torch==2.13.0" not in said.getvalue()


def test_what_is_compiled_beforehand_is_there() -> None:
    for name in " ".join(IMPORTED).split():
        assert find_spec(name), name


@pytest.mark.parametrize("uvs", [0, 1])
def test_pip_does_it_where_uv_cannot(monkeypatch: pytest.MonkeyPatch, uvs: int) -> None:
    commands: list[list[str]] = []

    def note(teller: Teller, command: list[str], *_: object) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(install, "by_uv", lambda *_: uvs)
    monkeypatch.setattr(install, "run", note)
    monkeypatch.setattr(install, "compile_imports", lambda environment: None)
    assert install.install("demo", os.environ) == 0
    assert len(commands) == uvs
    if uvs:
        assert commands[0][:3] == PIP[:3]
        assert commands[0][-1] == ".[demo]"
