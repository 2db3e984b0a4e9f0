"""The Celery apps, for whoever makes one."""

import subprocess
import sys

THREADS = """
import sys, threading
from shared.broker.apps import train_app
from shared.settings import Settings
sys.setswitchinterval(1e-5)
begin, made = threading.Barrier(8), []
settings = Settings(redis_url="redis://127.0.0.1:1/0")
def run():
    begin.wait()
    made.append(train_app(settings))
threads = [threading.Thread(target=run) for _ in range(8)]
[one.start() for one in threads]
[one.join() for one in threads]
sys.exit(len(made) != 8)
"""


def test_several_threads_may_be_the_first() -> None:
    """Celery and kombu cannot be imported by two at once."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
