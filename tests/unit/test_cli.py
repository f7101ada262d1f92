"""The command line: what it shows, and how it fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from cluster.agent.home import Home, HomeLock
from cluster.agent.layout import Process
from cluster.agent.report import Running, RunningProcess, RunningService
from cluster.agent.status import NodeStatus, SentinelStatus, ServiceStatus, ShardStatus, Status, worst
from sentinel.cli import progress, show
from sentinel.cli.main import main

URL = "rediss://default:s3cret@localhost:6380"
CLI = f"redis-cli --tls --cacert /h/tls/ca.crt -u {URL}"
SERVICE = RunningService(
    "cache", "standard", "allkeys-lru", 1, 1, 6379, 6380, "redis://localhost:6379", URL, ("127.0.0.1/32",), CLI
)
RUNNING = Running(
    pid=1,
    home="/h",
    ca_file="/h/tls/ca.crt",
    sentinels=("127.0.0.1:26379",),
    services=(SERVICE,),
    processes=(RunningProcess("cache-0-1", "node", 2, "127.0.0.1", 7000, "cache", "a" * 40),),
)
NODES = (
    NodeStatus("cache-0-1", "a" * 40, "127.0.0.1:7000", "primary", "online", 12345, None, 5 << 20, 1 << 30, 7, 1000),
    NodeStatus("cache-0-2", "b" * 40, "127.0.0.1:7001", "unknown", "down"),
)
STATUS = Status(
    "degraded",
    (SentinelStatus("sentinel-1", "127.0.0.1:26379", "online"),),
    (
        ServiceStatus(
            "cache",
            "standard",
            "allkeys-lru",
            "degraded",
            "redis://localhost:6379",
            URL,
            "online",
            (ShardStatus("cache-0", 3, "0-16383", NODES),),
        ),
    ),
)


def console(width: int) -> Console:
    """A console of this width that keeps what is printed."""
    return Console(file=io.StringIO(), width=width)


def text(of: Console) -> str:
    """What was printed."""
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def test_what_is_to_be_copied_is_on_one_line() -> None:
    """However narrow the terminal, URLs and the redis-cli line are not cut or wrapped."""
    narrow = console(40)
    show.ready(narrow, RUNNING)

    lines = [line.strip() for line in text(narrow).splitlines()]
    assert f"external   {URL}" in lines
    assert f"try it     {CLI}" in lines
    assert "Kvorum is ready: 1 service, 1 node, 1 sentinel." in text(console_with(80)).splitlines()


def console_with(width: int) -> Console:
    """A console on which the ready report was printed."""
    found = console(width)
    show.ready(found, RUNNING)
    return found


@pytest.mark.parametrize("width", [80, 200])
def test_status_fits_and_hides_the_password(width: int) -> None:
    """Names, roles and states are whole on a narrow terminal too; a node that is down shows dashes."""
    out = console(width)
    show.status(out, STATUS, secrets=False)

    found = text(out)
    assert "s3cret" not in found
    assert max(map(len, found.splitlines())) <= width
    rows = [line.split() for line in found.splitlines() if "cache-0-" in line]
    assert [row[-1] for row in rows] == ["7", "-"]
    assert {"primary", "online", "5.0", "1,000"} <= set(rows[0])
    assert {"unknown", "down"} <= set(rows[1])
    assert ("0-16383" in found) == (width == 200)


def test_the_password_is_shown_when_asked_for() -> None:
    """It is a decision of the operator."""
    out = console(200)
    show.status(out, STATUS, secrets=True)

    assert f"external {URL}\n" in text(out)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (341 << 20, "341 MB"), (5000 << 30, "5000 GB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    """Bytes are shown in the unit that people would choose."""
    assert show.size(count) == shown


def test_the_worst_state_is_that_of_the_whole() -> None:
    """One service that is unavailable makes the host unavailable; nothing at all is so too."""
    assert worst(["available", "degraded", "available"]) == "degraded"
    assert worst(["unavailable", "degraded"]) == "unavailable"
    assert worst([]) == "unavailable"


def test_progress_in_lines() -> None:
    """Without a terminal each process is told once when it is ready, then the report, then events."""
    out = console(200)
    lines = progress.Lines(out, clock=lambda: "12:00:00")
    lines.planned(())
    lines.state("cache-0-1", "starting", "loading its data")
    lines.state("cache-0-1", "ready")
    lines.state("cache-0-1", "ready")
    lines.ready(RUNNING)
    lines.state("cache-0-1", "dead", "was ended by SIGKILL")
    lines.message("cache-0-1 was ended by SIGKILL")

    found = text(out).splitlines()
    assert found[:2] == ["12:00:00 starting 0 processes", "12:00:00 cache-0-1 ready"]
    assert found[-1] == "12:00:00 cache-0-1 was ended by SIGKILL"
    assert "\n".join(found).count("cache-0-1 ready") == 1


def test_progress_as_json() -> None:
    """Standard output has one line, the report; the rest goes elsewhere."""
    out, lines = console(200), []
    observer = progress.Json(out, lines.append)
    observer.planned(())
    observer.ready(RUNNING)

    (line,) = lines
    assert json.loads(line)["services"][0]["external_url"] == URL
    assert "s3cret" not in text(out)


def test_progress_on_a_terminal() -> None:
    """The table shows every process with its state, and leaves its last form before the report."""
    out = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    screen = progress.Screen(out)
    screen.planned((Process("cache-0-1", "node", Path("/h"), {}, "127.0.0.1", 7000),))
    screen.state("cache-0-1", "starting", "copying from its primary, which takes long " * 3)
    screen.state("cache-0-1", "ready")
    screen.ready(RUNNING)

    found = text(out)
    assert found.index("cache-0-1  node  127.0.0.1:7000  ready") < found.index("Kvorum is ready")
    assert "127.0.0.1:…" not in found


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_nothing_runs(tmp_path: Path) -> None:
    """Status and failover say so with status 3 and what to do; down has nothing to do, which is no failure."""
    home = ("--home", str(tmp_path))

    for command in (("status",), ("failover", "cache", "0")):
        code, _, errors = invoke(*command, *home)
        assert code == 3
        assert errors == (
            f"error: nothing runs on {tmp_path}. Start it by 'kvorum up', or name another directory by --home\n"
        )
    assert invoke("down", *home) == (0, f"nothing runs on {tmp_path}\n", "")


def test_still_starting(tmp_path: Path) -> None:
    """An agent that holds the directory but is not ready is told apart."""
    home = Home(tmp_path)
    home.create()
    with HomeLock(home):
        assert invoke("status", "--home", str(tmp_path))[::2] == (
            3,
            "error: the services are still starting; try again in a moment\n",
        )


def test_wrong_arguments(tmp_path: Path) -> None:
    """A file that is missing, and ports for several services, are mistakes of the caller: status 2."""
    path = tmp_path / "b.yaml"
    home = ("--home", str(tmp_path / "home"))
    assert invoke("up", str(path), *home)[::2] == (
        2,
        f"error: cannot read the blueprint {path}: No such file or directory\n",
    )
    item = "- {{type: keyvalue, name: {}, ipAllowList: []}}\n"
    path.write_text("services:\n" + item.format("a") + item.format("b"))
    code, _, errors = invoke("up", str(path), "--port", "7000", *home)

    assert code == 2
    assert "there are several (a, b)" in errors
    assert invoke("up", "--port", "0", *home)[0] == 2


def test_info() -> None:
    """Versions, and whether the engine is compiled."""
    code, out, _ = invoke("info", "--json")

    assert code == 0
    assert json.loads(out)["engine"] in ("compiled", "interpreted")
    assert json.loads(out)["valkey"].startswith("8.")
