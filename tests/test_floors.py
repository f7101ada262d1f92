"""The floors of the house: who may import whom. A rule that nothing checks leaks; this file reads the syntax trees."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE = 600
MAX_FUNCTION = 80

ROOMS = {
    "cluster": {"cluster"},
    "node": {"cluster", "node"},
    "sentinel": {"cluster", "sentinel"},
    "proxy": {"cluster", "proxy"},
}

# Each room's floors from the ground up; a module stands on the floor of its longest prefix, others on the ground.
FLOORS: dict[str, list[set[str]]] = {
    "cluster": [set(), {"agent"}],
    "node": [
        set(),
        {"session"},
        {"ports", "pubsub", "blocking", "tracking", "monitors"},
        {"engine"},
        {"waiting", "memory", "upkeep", "defrag", "clientmemory", "timing", "script_checks"},
        {"scripting"},
        {"commands"},
        {"handlers", "admission"},
        {"dispatch"},
        {"persistence", "replication", "migration"},
        {"clients", "server", "lifecycle", "check", "moving", "__main__"},
    ],
    "sentinel": [
        set(),
        {"store", "settings", "hello", "probes", "actions", "engine"},
        {"session", "client_commands", "shard_commands", "commands", "server", "cli", "console", "__main__"},
    ],
    "proxy": [
        set(),
        {
            "__main__", "channels", "client", "commands", "control", "hub", "lanes", "lines", "listener",
            "server", "upstream", "waiting",
        },
    ],
}  # fmt: skip

# The floors below this one hold no IO: neither the event loop nor the log is imported there.
FIRST_WITH_IO = {"cluster": 0, "node": 8, "sentinel": 1, "proxy": 1}
IO_MODULES = {"trio", "structlog"}


class Module:
    """One source file: its dotted name, its tree, and what it imports at which line."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path.relative_to(root)
        parts = list(self.path.with_suffix("").parts)
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.source = path.read_text("utf-8")
        self.tree = ast.parse(self.source, str(self.path))

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of each import; `from a import b` gives a.b, which may be a module or a name in one."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
                    base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


@functools.cache
def load(root: Path) -> dict[str, Module]:
    """All modules of the rooms under `root`, by name."""
    paths = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    return {module.name: module for module in (Module(path, root) for path in paths)}


def floor(name: str) -> int:
    """The floor of a module within its room, from 0."""
    room, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return next((level for level, names in enumerate(FLOORS[room]) if first in names), 0)


def resolve(name: str, modules: dict[str, Module]) -> str | None:
    """The module of ours that an import names, or None for one of others."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def wrong_directions(modules: dict[str, Module]) -> list[str]:
    """Imports between rooms or up the floors of a room."""
    wrong = []
    for module in modules.values():
        for line, name in module.imports():
            target = resolve(name, modules)
            if target is None:
                continue
            room = target.partition(".")[0]
            if room not in ROOMS[module.room]:
                wrong.append(f"{module.at(line)}: {module.room}/ may not import {target}")
            elif room == module.room and floor(target) > floor(module.name):
                wrong.append(
                    f"{module.at(line)}: {module.name} (floor {floor(module.name)}) imports {target} "
                    f"(floor {floor(target)}) above it"
                )
    return wrong


def io_below(modules: dict[str, Module]) -> list[str]:
    """Imports of the event loop or the log on floors that must stay pure."""
    return [
        f"{module.at(line)}: {module.name} is on a floor without IO and may not import {name.partition('.')[0]}"
        for module in modules.values()
        if floor(module.name) < FIRST_WITH_IO[module.room]
        for line, name in module.imports()
        if name.partition(".")[0] in IO_MODULES
    ]


def cycles(modules: dict[str, Module]) -> list[str]:
    """Cycles of imports, each shown once as a path."""
    edges: dict[str, dict[str, int]] = {name: {} for name in modules}
    for module in modules.values():
        for line, name in module.imports():
            target = resolve(name, modules)
            if target is not None and target != module.name:
                edges[module.name].setdefault(target, line)
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            ring = [*path[path.index(name) :], name]
            found.append(f"{modules[ring[0]].at(edges[ring[0]][ring[1]])}: cycle {' -> '.join(ring)}")
        elif name not in done:
            for target in edges[name]:
                visit(target, [*path, name])
            done.add(name)

    for name in modules:
        visit(name, [])
    return found


def hidden_imports(modules: dict[str, Module]) -> list[str]:
    """Imports inside functions."""
    return sorted(
        {
            f"{module.at(node.lineno)}: an import inside a function"
            for module in modules.values()
            for function in ast.walk(module.tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
    )


def oversized(modules: dict[str, Module]) -> list[str]:
    """Files and functions that grew beyond what reads well."""
    wrong = []
    for module in modules.values():
        lines = module.source.count("\n")
        if lines > MAX_FILE:
            wrong.append(f"{module.at(MAX_FILE)}: {lines} lines, at most {MAX_FILE}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    wrong.append(f"{module.at(node.lineno)}: {node.name} has {length} lines, at most {MAX_FUNCTION}")
    return wrong


CHECKS = [wrong_directions, io_below, cycles, hidden_imports, oversized]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_house(check) -> None:
    """The whole house keeps this rule."""
    modules = load(ROOT)
    assert set(ROOMS) <= {module.room for module in modules.values()}
    broken = check(modules)

    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize("room", ROOMS)
def test_each_package_says_what_it_is_for(room: str) -> None:
    """The docstring of a room's package is there and speaks of imports."""
    doc = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text("utf-8"))) or ""

    assert "import" in doc


@pytest.mark.parametrize(
    ("files", "check", "expected"),
    [
        ({"node/a.py": "import sentinel.b\n", "sentinel/b.py": ""}, wrong_directions, "node/a.py:1: node/ may not"),
        ({"cluster/a.py": "\nfrom proxy import b\n", "proxy/b.py": ""}, wrong_directions, "cluster/a.py:2:"),
        ({"node/keyspace.py": "from . import server", "node/server.py": ""}, wrong_directions, "above it"),
        ({"node/types/a.py": "from ..commands import b", "node/commands/b.py": ""}, wrong_directions, "above it"),
        ({"cluster/link.py": "from cluster.agent import x", "cluster/agent/x.py": ""}, wrong_directions, "above it"),
        ({"sentinel/quorum.py": "import trio"}, io_below, "may not import trio"),
        ({"node/a.py": "from node import b", "node/b.py": "from node import a"}, cycles, "node.a -> node.b -> node.a"),
        ({"proxy/a.py": "def f():\n    import os\n"}, hidden_imports, "proxy/a.py:2"),
        ({"proxy/a.py": "def f():\n" + "    pass\n" * 80}, oversized, "f has 81 lines"),
        ({"proxy/a.py": "\n" * 601}, oversized, "601 lines"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, files: dict[str, str], check, expected: str) -> None:
    """Each check finds a house that breaks its rule, and names file and line."""
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for package in [path.parent, *path.parent.parents[: len(Path(name).parts) - 2]]:
            (package / "__init__.py").touch()
        path.write_text(source)

    broken = check(load(tmp_path))

    assert len(broken) == 1
    assert expected in broken[0]
