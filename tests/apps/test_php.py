"""PHP sessions kept by php-redis, whose lock is a key that a script gives back; and the client itself."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.apps.conftest import APPS, PATIENCE, outcomes, running
from tests.conftest import find_free_port

FOLDER = APPS / "php"
LIFETIME = 1440
VISITS = 60
SCENARIOS = ("scripts", "serialized", "pipelines", "streams", "scans", "geo and bits")


@pytest.fixture(scope="module", autouse=True)
def php() -> None:
    """PHP with php-redis, or a skip with the reason."""
    if shutil.which("php") is None:
        pytest.skip("php is not installed")
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if not {"redis", "igbinary"} <= set(modules.stdout.split()):
        pytest.skip("php-redis is not installed")


@contextmanager
def web(url: str, log: Path) -> Iterator[int]:
    """PHP's web server with four workers, at the port given."""
    port = find_free_port()
    options = {
        "session.save_handler": "redis",
        "session.save_path": url.replace("redis://", "tcp://") + "?timeout=5&prefix=php:",
        "session.gc_maxlifetime": str(LIFETIME),
        "redis.session.locking_enabled": "1",
        "redis.session.lock_expire": "30",
        "redis.session.lock_wait_time": "2000",
        "redis.session.lock_retries": "5000",
    }
    command = ["php", *(word for key, value in options.items() for word in ("-d", f'{key}="{value}"'))]
    with running([*command, "-S", f"127.0.0.1:{port}", "index.php"], log, FOLDER, PHP_CLI_SERVER_WORKERS="4"):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "PHP's web server does not listen"
                time.sleep(0.02)
        yield port


def ask(port: int, page: str, cookie: str = "") -> dict[str, Any]:
    """What a page says to the owner of a session."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{page}")
    if cookie:
        request.add_header("Cookie", f"PHPSESSID={cookie}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        found: dict[str, Any] = json.loads(reply.read())
        return found


def test_sessions(url: str, tmp_path: Path) -> None:
    """Parallel requests of one session count without a gap; it outlives the web server, changes its id, and ends."""
    with redis.Redis.from_url(url) as client:
        with web(url, tmp_path / "log") as port:
            own = ask(port, "count")["id"]
            with ThreadPoolExecutor(6) as pool:
                replies = list(pool.map(lambda _: ask(port, "count", own), range(VISITS - 1)))
            assert sorted(reply["n"] for reply in replies) == list(range(2, VISITS + 1))
            assert client.keys() == [f"php:{own}".encode()]  # every lock was given back
            assert LIFETIME - 10 <= client.ttl(f"php:{own}") <= LIFETIME
        with web(url, tmp_path / "log") as port:
            assert ask(port, "look", own) == {"id": own, "n": VISITS, "intact": True}
            new = ask(port, "renew", own)
            assert new["id"] != own
            assert new["n"] == VISITS
            assert client.keys() == [f"php:{new['id']}".encode()]
            assert ask(port, "logout", new["id"])["n"] is None
            assert client.keys() == []
            held = ask(port, "count")["id"]
            client.delete(f"php:{held}")
            assert ask(port, "look", held)["n"] is None


@pytest.fixture(scope="module")
def ran(url: str) -> dict[str, Any]:
    """What became of every scenario of the client."""
    return outcomes(["php", "client.php", url], FOLDER)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_client(ran: dict[str, Any], scenario: str) -> None:
    """Scripts, igbinary values, pipelines, transactions, streams, scans, geo, bits and HyperLogLog."""
    assert ran[scenario] == "ok"
    assert set(ran) == set(SCENARIOS)
