"""`python -m node.check FILE [--json] [--fix]`: what a file of the data folder holds, and where it breaks.

FILE is an RDB file, an append-only file, a manifest, or a folder that holds some: the one of a set, or the data folder
of a server. `kvorum check` runs this as a process of its own. Exit status: 0 everything is sound (or was made so), 1 it
is not or can't be read, 2 wrong arguments. Only reads, unless --fix is given; memory is that of the largest key.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from node.persistence import check as check_aof
from node.rdb.opcodes import MAGIC, MAGIC_VALKEY
from node.rdb.survey import lines as survey_lines
from node.rdb.survey import survey, text

SOUND = 0
BROKEN = 1

Report = dict[str, object]


class Unknown(Exception):
    """A file of another kind, or a folder without any; the text tells which."""


def rdb_report(path: Path) -> Report:
    """The account of an RDB file; `ok` tells whether it is sound. Raises OSError."""
    with path.open("rb") as file:
        found = survey(file, os.fstat(file.fileno()).st_size)
    report: Report = {"file": str(path), "kind": "rdb", "ok": found.error is None, "bytes": found.size}
    report.update(found.report())
    if found.trailing:
        report["trailing_bytes"] = found.trailing
    if found.error is not None:
        report["error"] = {"offset": found.error.offset, "reason": found.error.reason}
        report["broken_key"] = None if found.broken_key is None else text(found.broken_key)
        report["last_good_key"] = None if found.last_key is None else text(found.last_key)
        report["last_good_db"] = found.last_dbid
    return report


def _rdb_lines(report: Report) -> list[str]:
    """The report as text."""
    head, *rest = survey_lines(report)
    lines = [f"{report['file']}: {report['bytes']} bytes, {head}", *rest]
    if "trailing_bytes" in report:
        lines.append(f"trailing bytes: {report['trailing_bytes']}")
    error = report.get("error")
    if not isinstance(error, dict):
        return [*lines, "sound"]
    lines.append(f"BROKEN at offset {error['offset']}: {error['reason']}")
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


def _files_of(folder: Path) -> list[Path]:
    """What a folder holds for a server: its manifests; else its RDB files and append-only files, and the manifests of
    the folders in it. Raises OSError and Unknown.
    """
    inside = sorted(folder.iterdir())
    manifests = [path for path in inside if path.name.endswith(".manifest")]
    if manifests:
        return manifests
    found = [path for path in inside if path.suffix in (".rdb", ".aof") and path.is_file()]
    for path in inside:
        if path.is_dir():
            found += sorted(path.glob("*.manifest"))
    if not found:
        raise Unknown(f"{folder}: a folder without RDB file, append-only file or manifest")
    return found


def _report(path: Path, fix: bool) -> tuple[Report, list[str]]:
    """The account of a file, as data and as text. Raises OSError and Unknown."""
    kind = _kind(path)
    if kind == "unknown":
        raise Unknown(
            f"{path}: no RDB file (it begins neither with REDIS nor with VALKEY), no append-only file and no manifest"
        )
    if kind == "rdb":
        report = rdb_report(path)
        return report, _rdb_lines(report)
    report = check_aof.set_report(path, fix) if kind == "manifest" else check_aof.file_report(path, fix)
    return report, check_aof.lines(report)


def _everything(path: Path, fix: bool) -> tuple[Report, list[str]]:
    """The account of a file, or of all that a folder holds. Raises OSError and Unknown."""
    files = _files_of(path) if path.is_dir() else [path]
    reports: list[Report] = []
    lines: list[str] = []
    for file in files:
        report, said = _report(file, fix)
        reports.append(report)
        lines += said
    if len(reports) == 1:
        return reports[0], lines
    sets = [report["file"] for report in reports if report["kind"] != "rdb"]
    if sets:
        lines.append(f"with appendonly yes a node loads {', '.join(map(str, sets))}; the RDB files with appendonly no")
    return {"file": str(path), "kind": "folder", "ok": all(report["ok"] for report in reports), "files": reports}, lines


def _print(said: str, stream: TextIO) -> None:
    """Names of files and keys may be any bytes."""
    print(said.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), file=stream)


def main(argv: Sequence[str] | None = None) -> int:
    """Check one file or folder; returns the exit status."""
    parser = argparse.ArgumentParser(prog="kvorum check", description="Tell what a file holds and where it breaks.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--fix", action="store_true")
    options = parser.parse_args(argv)
    try:
        report, lines = _everything(options.file, options.fix)
    except Unknown as error:
        _print(str(error), sys.stderr)
        return BROKEN
    except OSError as error:
        _print(f"{error.filename or options.file}: {error.strerror}", sys.stderr)
        return BROKEN
    _print(json.dumps(report) if options.as_json else "\n".join(lines), sys.stdout)
    return SOUND if report["ok"] else BROKEN


if __name__ == "__main__":
    sys.exit(main())
