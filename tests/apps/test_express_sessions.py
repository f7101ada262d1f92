"""Express sessions in connect-redis: they outlive the web process, are shared by two, and live while they are used."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.apps.conftest import running, told

TTL = 3600


class Browser:
    """Keeps the session's cookie, and shows it to whichever web process it asks."""

    def __init__(self) -> None:
        self.cookie = ""

    def ask(self, port: int, method: str, path: str, **body: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request."""
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            headers = {"Content-Type": "application/json", **({"Cookie": self.cookie} if self.cookie else {})}
            link.request(method, path, json.dumps(body) if body else None, headers)
            reply = link.getresponse()
            if given := reply.getheader("Set-Cookie"):
                self.cookie = given.split(";")[0]
            return reply.status, json.loads(reply.read())
        finally:
            link.close()


@pytest.fixture
def web(javascript: Path, url: str, tmp_path: Path) -> Iterator[Callable[[], tuple[int, Callable[[], None]]]]:
    """A function that starts a web process: its port, and a function that kills it."""
    secret = secrets.token_hex(8)
    with ExitStack() as stack:

        def serve() -> tuple[int, Callable[[], None]]:
            command = ["node", "web.mjs", url]
            process = stack.enter_context(running(command, tmp_path / "log", javascript, True, WEB_SECRET=secret))
            return told(process)["port"], process.kill

        yield serve


def test_sessions(web: Callable[[], tuple[int, Callable[[], None]]], url: str) -> None:
    """Login, a second process, the kill of the first, use that prolongs the session, its lapse, and logout."""
    first, kill = web()
    second, _ = web()
    ann, bob = Browser(), Browser()
    with redis.Redis.from_url(url) as client:
        assert ann.ask(first, "GET", "/visit")[0] == 401
        status, made = ann.ask(first, "POST", "/login", user="ann")
        assert status == 200
        key = f"web:{made['id']}"
        assert json.loads(client.get(key))["user"] == "ann"
        assert TTL - 5 <= client.ttl(key) <= TTL
        assert ann.ask(first, "GET", "/visit") == (200, {"user": "ann", "visits": 1})
        assert ann.ask(second, "GET", "/visit") == (200, {"user": "ann", "visits": 2})
        kill()
        third, _ = web()
        assert ann.ask(third, "GET", "/visit") == (200, {"user": "ann", "visits": 3})

        client.expire(key, 100)
        assert ann.ask(third, "GET", "/look") == (200, {"user": "ann"})  # changes nothing, so only the TTL is renewed
        assert client.ttl(key) > TTL - 5

        assert bob.ask(second, "POST", "/login", user="bob")[0] == 200
        assert bob.ask(third, "GET", "/sessions") == (200, {"length": 2, "users": ["ann", "bob"]})
        client.delete(key)
        assert ann.ask(third, "GET", "/visit")[0] == 401
        assert bob.ask(third, "POST", "/logout") == (200, {"bye": True})
        assert bob.ask(second, "GET", "/look") == (200, {"user": None})
        assert ann.ask(second, "POST", "/login", user="ann")[0] == 200
        assert ann.ask(second, "POST", "/clear")[0] == 200
        assert client.dbsize() == 0
