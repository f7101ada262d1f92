"""docs/commands.md: every command and subcommand that genuine Valkey documents, and whether this node has it.

`python -m tests.differential.commands_page` starts both servers, asks each for COMMAND DOCS and writes the page;
`test_commands_page.py` fails when the page is not what comes out.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from tests.differential.test_command_introspection import Wire, pairs
from tests.differential.twins import start_twins

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "commands.md"

# Why a command is absent, by the word its name begins with; docs/differences.md says more of each.
_NO_BUS = "no gossip bus; sentinels decide the topology"
_NO_MOVES = "slots do not move yet"
_BUS = (
    b"addslots", b"addslotsrange", b"bumpepoch", b"delslots", b"delslotsrange", b"failover", b"flushslots", b"forget",
    b"meet", b"replicate", b"reset", b"set-config-epoch",
)  # fmt: skip
_MOVES = (b"setslot", b"migrateslots", b"getslotmigrations", b"cancelslotmigrations", b"syncslots")
ABSENT: dict[bytes, str] = {
    b"module": "no modules", b"failover": "`kvorum failover`: sentinels change the roles",
    **{b"cluster|" + name: _NO_BUS for name in _BUS},
    **{b"cluster|" + name: _NO_MOVES for name in _MOVES},
}  # fmt: skip

TITLES = {
    "bitmap": "Bitmaps", "cluster": "Cluster", "connection": "Connection", "generic": "Keys", "geo": "Geo",
    "hash": "Hashes", "hyperloglog": "HyperLogLog", "list": "Lists", "pubsub": "Publish and subscribe",
    "scripting": "Scripts and functions", "server": "Server", "set": "Sets", "sorted-set": "Sorted sets",
    "stream": "Streams", "string": "Strings", "transactions": "Transactions",
}  # fmt: skip
HEAD = """# Commands

Every command and subcommand that genuine Valkey {version} documents, by group, and its state here: **yes** means
that `tests/differential/` compares it with Valkey byte for byte; what may differ is in
[differences.md](differences.md), as are the reasons for what is absent. Made from both servers' `COMMAND DOCS` by
`python -m tests.differential.commands_page`; a test fails when it is stale.

{there} of {all} commands and subcommands are here.
"""

Docs = dict[bytes, tuple[str, str]]  # full name -> group, version that it came with


def documented(wire: Wire) -> Docs:
    """All commands and subcommands of COMMAND DOCS."""
    found: Docs = {}

    def take(docs: dict[bytes, object]) -> None:
        for name, doc in docs.items():
            fields = pairs(doc)
            found[name] = (fields[b"group"].decode(), fields[b"since"].decode())
            if b"subcommands" in fields:
                take(pairs(fields[b"subcommands"]))

    take(pairs(wire.ask(b"COMMAND", b"DOCS")))
    return found


def why_absent(name: bytes) -> str:
    """The reason given for a command that is not here. Raises KeyError when there is none."""
    for prefix in (name, name.partition(b"|")[0]):
        if prefix in ABSENT:
            return ABSENT[prefix]
    raise KeyError(f"{name.decode()} is absent and ABSENT gives no reason")


def render(theirs: Docs, ours: Docs, version: str) -> str:
    """The page."""
    page = [HEAD.format(version=version, there=len(theirs.keys() & ours.keys()), all=len(theirs))]
    for group in sorted({group for group, _ in theirs.values()}, key=lambda group: TITLES.get(group, group)):
        page.append(f"\n## {TITLES.get(group, group)}\n\n| command | since | here |\n|---|---|---|\n")
        for name in sorted(name for name, (its, _) in theirs.items() if its == group):
            state = "yes" if name in ours else f"no: {why_absent(name)}"
            page.append(f"| {name.decode().upper().replace('|', ' ')} | {theirs[name][1]} | {state} |\n")
    alone = sorted(ours.keys() - theirs.keys())
    page.append("\n## Ours alone\n\n| command | for |\n|---|---|\n")
    page += [f"| {name.decode().upper().replace('|', ' ')} | the topology, pushed by sentinels |\n" for name in alone]
    return "".join(page)


def current() -> str:
    """The page as both servers' answers make it now."""
    with tempfile.TemporaryDirectory() as folder, start_twins(Path(folder)) as twins, contextlib.ExitStack() as stack:
        oracle, node = (Wire(stack.enter_context(server.connect()), 3) for server in twins.servers)
        stack.callback(oracle.file.close)
        stack.callback(node.file.close)
        version = pairs(oracle.ask(b"HELLO", b"3"))[b"version"].decode()
        return render(documented(oracle), documented(node), version)


if __name__ == "__main__":
    PAGE.write_text(current())
