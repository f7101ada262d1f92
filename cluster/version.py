"""What we call ourselves on the wire, in one place: our own version, and those that clients and tools look for."""

from typing import Final

KVORUM_VERSION: Final = "0.1.0"
REDIS_VERSION: Final = "7.2.4"  # the last version of Redis that Valkey declares itself compatible with
VALKEY_VERSION: Final = "8.1.0"  # whose commands and replies we follow
SERVER_NAME: Final = "valkey"
