"""What a video could do that has taken its decoder over: nothing but decode."""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.errors import ConfigError, OutOfResources
from tests.videos import write_clip
from workers.jobs.decoders import tell_isolation
from workers.progress import Progress
from workers.video import process as process_module
from workers.video.isolation import FORBIDDEN, NOBODY
from workers.video.pool import DecoderPool
from workers.video.sampling import Request
from workers.video.source import Source, file_source

PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
"""linux/prctl.h"""

PROBE = """\
import ctypes, json, os, socket, sys
del sys.argv[1:3]  # -m workers.video.standby
from workers.video import decoder, standby, syscalls

def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"

def open_files():
    found = []
    for number in range(256):
        try:
            os.read(number, 0)
        except OSError as error:
            if error.errno == 9:  # EBADF: closed, or for writing only
                try:
                    os.write(number, b"")
                except OSError:
                    continue
        found.append(number)
    return len(found)

def peek(worker):
    def attempt():
        libc = ctypes.CDLL(None, use_errno=True)
        one = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
        if libc.process_vm_readv(worker, one, 1, one, 1, 0) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return attempt

def probe(parent, video, memory_bytes):
    told = parent.receive()
    worker, port, folder = json.loads(told["name"])
    found = {
        "inet": outcome(lambda: socket.socket(socket.AF_INET)),
        "unix": outcome(lambda: socket.socket(socket.AF_UNIX)),
        "connect": outcome(lambda: socket.socket().connect(("127.0.0.1", port))),
        "write": outcome(lambda: os.open(folder + "/new", os.O_CREAT | os.O_WRONLY)),
        "read": outcome(lambda: os.open(folder + "/old", os.O_RDONLY)),
        "remove": outcome(lambda: os.unlink(folder + "/old")),
        "environ": outcome(lambda: os.open(f"/proc/{worker}/environ", os.O_RDONLY)),
        "mem": outcome(lambda: os.open(f"/proc/{worker}/mem", os.O_RDWR)),
        "peek": outcome(peek(worker)),
        "exec": outcome(lambda: os.execv("/bin/true", ["true"])),
        "fork": outcome(os.fork),
        "signal": outcome(lambda: os.kill(worker, 0)),
        "itself": outcome(lambda: os.write(2, b"this reaches no log\\n")),
    }
    facts = {"found": found, "environment": sorted(os.environ), "files": open_files()}
    facts["modules"] = sorted({name.partition(".")[0] for name in sys.modules})
    parent.tell("opened", duration_s=0, frames=0, width=0, height=0, codec=json.dumps(facts))
    return 0

"""
MAIN = "standby.main()\n"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", 24)


@pytest.fixture
def server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A decoder as it is, but for this change."""
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{PROBE}{change}\n{MAIN}")
    program.chmod(0o755)
    monkeypatch.setattr(process_module.sys, "executable", str(program))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_what_has_taken_a_decoder_over_can_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: int, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("JAMAK_REDIS_URL", "redis://secret")
    everybodys = tmp_path / "everybodys"
    everybodys.mkdir()
    (everybodys / "old").write_text("old")
    for path, mode in ((tmp_path, 0o755), (everybodys, 0o777), (everybodys / "old", 0o666)):
        path.chmod(mode)
    instead(tmp_path, monkeypatch, "decoder.serve = probe")
    pool = DecoderPool(1)
    asked = Source(json.dumps([os.getpid(), server, str(everybodys)]), 1, lambda a, b: bytes(b - a))
    with pool.open(asked, Progress()) as video:
        told = json.loads(video.info.codec)
    pool.close()
    allowed = {name for name, outcome in told["found"].items() if outcome != "PermissionError"}
    assert allowed == {"itself"}
    assert "this reaches no log" not in capfd.readouterr().err
    assert [path.name for path in everybodys.iterdir()] == ["old"]
    # Where its code is, and what its libraries are told; Python adds the last one itself.
    assert set(told["environment"]) <= {
        *process_module.ENVIRONMENT,
        *("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GLIBC_TUNABLES"),
        *("PYTHONDONTWRITEBYTECODE", "LC_CTYPE"),
    }
    # What reads settings or reaches stores would be half of its start, and of no use to it.
    assert not {"pydantic", "boto3", "redis", "celery", "torch"} & set(told["modules"])
    # /dev/null three times, its socket, the video, the pictures, and what shows its end.
    assert told["files"] == 7


def test_what_was_obtained_is_told(clip: Path) -> None:
    pool = DecoderPool(1, isolated=True)
    found = pool.prove()
    assert (found.missing, found.why) == ((), "")
    with pool.open(file_source(clip), Progress()) as video:
        uids = psutil.Process(video.decoder.pid).uids()
    ours = os.getuid()
    assert uids.effective == (NOBODY if found.user == "another" else ours)
    assert found.user in (("another",) if ours == 0 else ("namespace", "same"))
    told = tell_isolation(found)
    assert told == {**dict.fromkeys(FORBIDDEN, "refused"), "user": found.user}
    pool.close()


def test_where_the_kernel_has_no_filter_it_is_said_and_can_be_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    instead(tmp_path, monkeypatch, "syscalls.MACHINES.clear()")  # as on a machine nobody foresaw
    pool = DecoderPool(1)
    found = pool.prove()
    assert {"files", "programs"} <= set(found.missing)
    assert "no system calls are listed for" in found.why
    assert tell_isolation(found)["files"] == "open"
    with pool.open(file_source(clip), Progress()) as video:  # it works all the same
        assert len(video.sample(Request(2)).frames) == 2
    pool.close()
    strict = DecoderPool(1, isolated=True)
    with pytest.raises(ConfigError, match=r"not kept from .*files.*: no system calls are listed"):
        strict.prove()
    # At its start it could: then this machine is to blame, and no video.
    with (
        pytest.raises(OutOfResources, match="not kept from"),
        strict.open(file_source(clip), Progress()),
    ):
        pass
    strict.close()


def test_who_decodes_keeps_its_memory_to_itself() -> None:
    """No core dump, and no reading by others of its user."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_DUMPABLE, 1)  # another test may have had a pool
    DecoderPool(1).close()
    assert libc.prctl(PR_GET_DUMPABLE) == 0
