"""Two Socket.IO servers whose clients hear each other through Redis: the pub/sub, sharded and streams adapters."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.apps.conftest import outcomes, running, told

COMMON = ("rooms", "order", "binary", "fetched", "moved", "acknowledged")
SCENARIOS = {
    "pubsub": (*COMMON, "emitter"),
    "sharded": COMMON,
    "streams": (*COMMON, "recovered"),
}


@pytest.fixture(scope="module")
def ran(javascript: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of every scenario, by adapter; two server processes for each, and the clients in a fifth."""
    log = tmp_path_factory.mktemp("socketio") / "log"
    found = {}
    for kind in SCENARIOS:
        with ExitStack() as stack:
            servers = [
                stack.enter_context(running(["node", "socketio_server.mjs", url, kind, name], log, javascript, True))
                for name in ("first", "second")
            ]
            ports = [str(told(server)["port"]) for server in servers]
            found[kind] = outcomes(["node", "socketio_clients.mjs", url, kind, *ports], javascript)
    return found


@pytest.mark.parametrize(("kind", "scenario"), [(kind, one) for kind, all_ in SCENARIOS.items() for one in all_])
def test_adapter(ran: dict[str, dict[str, Any]], kind: str, scenario: str) -> None:
    """Rooms, order, bytes, remote sockets, moves, acknowledgements across servers; recovery of a lost client."""
    assert ran[kind][scenario] == "ok"
    assert set(ran[kind]) == set(SCENARIOS[kind])
