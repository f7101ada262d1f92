"""A stand-in for a node, a sentinel or a proxy: answers what the agent asks, and nothing else.

`fake_process.py KIND CONFIG [--replicaof HOST PORT]`. Nodes load for as many questions as the file `loading` in the
folder above their own says, and hold as many keys as `keys` says. A sentinel's topology is the file `promoted.json` in
the folder above its own once that exists, so that a test can let a failover happen; what it is told is appended to
`told`.
"""

from __future__ import annotations

import socketserver
import sys
from pathlib import Path

KIND, CONFIG = sys.argv[1], Path(sys.argv[2])
LINES = [line.split() for line in CONFIG.read_text().splitlines()]
REPLICA = sys.argv[3:] not in ([], ["--replicaof", "no", "one"])
HOME = CONFIG.parent.parent.parent


def bulk(text: str) -> bytes:
    """A bulk string."""
    data = text.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def topology() -> bytes:
    """The topology that the sentinels would have."""
    promoted = HOME / "promoted.json"
    kept = next((HOME / "topology").glob("*.json"))
    return bulk((promoted if promoted.exists() else kept).read_text())


def number(name: str) -> int:
    """The number in a file; 0 without it."""
    path = HOME / name
    return int(path.read_text()) if path.exists() else 0


asked: list[str] = []  # the questions that were answered LOADING


def answer(words: list[str]) -> bytes:
    """The reply to a request."""
    loading = number("loading") if KIND == "node" else 0
    match words:
        case ["PING"] if len(asked) < loading:
            asked.append("PING")
            return b"-LOADING Valkey is loading the dataset in memory\r\n"
        case ["INFO", "persistence"]:
            share = 100 * len(asked) / loading
            return bulk(f"loading:1\r\nloading_loaded_perc:{share:.2f}\r\nloading_eta_seconds:1\r\n")
        case ["INFO", "keyspace"]:
            return bulk(f"db0:keys={number('keys')},expires=0,avg_ttl=0\r\n")
        case ["PING"]:
            return b"+PONG\r\n"
        case ["INFO", *_]:
            return bulk("role:slave\r\nmaster_link_status:up\r\n" if REPLICA else "role:master\r\n")
        case ["CLUSTER", "INFO"]:
            return bulk("cluster_state:ok\r\n")
        case ["SENTINEL", "CKQUORUM", _] | ["CLIENT", "SETNAME", _]:
            return b"+OK\r\n"
        case ["EXISTS", _]:
            return b":0\r\n"
        case ["KVORUM", "TOPOLOGY", "GET", _]:
            return topology()
        case ["KVORUM", "TOPOLOGY", "SET", record]:
            told = CONFIG.parent / "announced.new"
            told.write_text(record)
            told.rename(CONFIG.parent / "announced.json")
            return b"+OK\r\n"
        case ["KVORUM", "PROCESS-DEAD", node]:
            with (CONFIG.parent / "told").open("a") as told:
                told.write(f"{node}\n")
            return b"+OK\r\n"
    return b"-ERR unexpected " + " ".join(words).encode() + b"\r\n"


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2].decode())
            self.wfile.write(answer(words))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if (HOME / f"broken-{KIND}").exists():
    sys.exit("this one does not start")
print("started", sys.argv[3:], flush=True)
Server(("127.0.0.1", next(int(line[1]) for line in LINES if line[0] == "port")), Handler).serve_forever()
