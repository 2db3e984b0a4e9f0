"""A provider of credentials as an operator would write one: they lie in a file that changes."""

import os
from pathlib import Path

import redis

FILE = "JAMAK_TEST_REDIS_LOGIN"
"""The variable that names it; in it are a user and a password."""


class FromFile(redis.CredentialProvider):
    def get_credentials(self) -> tuple[str, str]:
        user, password = Path(os.environ[FILE]).read_text().split()
        return user, password


class Broken(redis.CredentialProvider):
    def __init__(self) -> None:
        raise OSError("the vault is closed")


class NoProvider:
    pass
