"""`python -m node.check FILE [--json] [--fix]`: what a file of the data folder holds, and where it breaks.

FILE is an RDB file, an append-only file, a manifest, or the folder that holds one. `kvorum check` runs this as a
process of its own. Exit status: 0 the file is sound (or was made so), 1 it is not or can't be read, 2 wrong arguments.
Only reads, unless --fix is given; memory is that of the largest key.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from node.persistence import check as check_aof
from node.rdb.opcodes import MAGIC, MAGIC_VALKEY
from node.rdb.survey import BigKey, Survey, survey

SOUND = 0
BROKEN = 1

Report = dict[str, object]


def _text(data: bytes) -> str:
    """Bytes for people: printable ones as they are."""
    return data.decode("utf-8", "backslashreplace")


def _big(big: BigKey) -> Report:
    unit = "bytes" if big.kind == "string" else "elements"
    return {"db": big.dbid, "key": _text(big.key), "type": big.kind, "bytes_in_file": big.size, unit: big.elements}


def rdb_report(path: Path) -> Report:
    """The account of an RDB file; `ok` tells whether it is sound. Raises OSError."""
    with path.open("rb") as file:
        found = survey(file, os.fstat(file.fileno()).st_size)
    report: Report = {"file": str(path), "kind": "rdb", "ok": found.error is None, "bytes": found.size}
    report["version"] = found.version
    report["aux"] = {_text(name): _text(value) for name, value in found.aux.items()}
    report["databases"] = {
        str(dbid): {"keys": db.keys, "expires": db.expires, "types": dict(sorted(db.types.items()))}
        for dbid, db in sorted(found.databases.items())
    }
    report["keys"] = sum(db.keys for db in found.databases.values())
    report["functions"] = found.functions
    report["biggest"] = [_big(big) for big in found.biggest]
    _add_oddities(report, found)
    if found.error is not None:
        report["error"] = {"offset": found.error.offset, "reason": found.error.reason}
        report["broken_key"] = None if found.broken_key is None else _text(found.broken_key)
        report["last_good_key"] = None if found.last_key is None else _text(found.last_key)
        report["last_good_db"] = found.last_dbid
    return report


def _add_oddities(report: Report, found: Survey) -> None:
    """What a usual file has not."""
    if found.modules:
        report["modules"] = found.modules
    if found.importing:
        report["importing_slots"] = [f"{first}-{last}" for first, last in found.importing]
    if found.empty:
        report["empty_keys"] = found.empty
    if found.trailing:
        report["trailing_bytes"] = found.trailing


def _lines(report: Report) -> list[str]:
    """The report as text."""
    lines = [f"{report['file']}: {report['bytes']} bytes, RDB version {report['version'] or 'unknown'}"]
    aux = report["aux"]
    assert isinstance(aux, dict)
    lines += [f"  {name}: {value}" for name, value in aux.items()]
    databases = report["databases"]
    assert isinstance(databases, dict)
    for dbid, db in databases.items():
        types = ", ".join(f"{kind} {number}" for kind, number in db["types"].items())
        lines.append(f"db {dbid}: {db['keys']} keys, {db['expires']} with expiry ({types})")
    lines.append(f"keys: {report['keys']}, libraries of functions: {report['functions']}")
    biggest = report["biggest"]
    assert isinstance(biggest, list)
    for big in biggest:
        inside = f", {big['elements']} elements" if "elements" in big else ""
        lines.append(f"  big: db {big['db']} {big['key']!r}, {big['type']}, {big['bytes_in_file']} bytes{inside}")
    for name in ("modules", "importing_slots", "empty_keys", "trailing_bytes"):
        if name in report:
            lines.append(f"{name.replace('_', ' ')}: {report[name]}")
    return [*lines, *_verdict(report)]


def _verdict(report: Report) -> list[str]:
    error = report.get("error")
    if not isinstance(error, dict):
        return ["sound"]
    lines = [f"BROKEN at offset {error['offset']}: {error['reason']}"]
    if report["broken_key"] is not None:
        lines.append(f"  in the key {report['broken_key']!r}")
    if report["last_good_key"] is None:
        return [*lines, "  no key before it is good"]
    return [*lines, f"  last good key: {report['last_good_key']!r} of db {report['last_good_db']}"]


def _kind(path: Path) -> str:
    """rdb, aof, manifest, or unknown, as name and first bytes say. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(6)
    if path.name.endswith(".manifest") or head.startswith(b"file "):
        return "manifest"
    if path.name.endswith(".aof") or head.startswith((b"*", b"#TS:")):
        return "aof"
    return "rdb" if head.startswith(MAGIC) or head == MAGIC_VALKEY else "unknown"


def _file_of(path: Path) -> Path:
    """The file to look into: the manifest of a folder, the file itself else."""
    manifests = sorted(path.glob("*.manifest")) if path.is_dir() else []
    return manifests[0] if manifests else path


def _report(path: Path, fix: bool) -> tuple[Report, list[str]] | None:
    """The account of a file, as data and as text; None when nobody knows what it is. Raises OSError."""
    kind = _kind(path)
    if kind == "unknown":
        return None
    if kind == "rdb":
        report = rdb_report(path)
        return report, _lines(report)
    report = check_aof.set_report(path, fix) if kind == "manifest" else check_aof.file_report(path, fix)
    return report, check_aof.lines(report)


def main(argv: Sequence[str] | None = None) -> int:
    """Check one file; returns the exit status."""
    parser = argparse.ArgumentParser(prog="kvorum check", description="Tell what a file holds and where it breaks.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--fix", action="store_true")
    options = parser.parse_args(argv)
    path: Path = options.file
    try:
        path = _file_of(path)
        found = _report(path, options.fix)
        if found is None:
            print(f"{path}: no RDB file (it begins neither with REDIS nor with VALKEY), no append-only file and no "
                  f"manifest", file=sys.stderr)  # fmt: skip
            return BROKEN
        report, lines = found
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return BROKEN
    if options.as_json:
        print(json.dumps(report))
    else:
        print("\n".join(lines))
    return SOUND if report["ok"] else BROKEN


if __name__ == "__main__":
    sys.exit(main())
