"""The part of `kvorum check` about append-only files: one file, or the set that a manifest names.

`--fix` cuts off an end that is torn (the last command or transaction of the last file that holds anything), and nothing
else: where a file is damaged before its end, what to keep is for people to say. What is cut off is kept beside the
file, as NAME.cut-OFFSET: both in a row are the file as it was.
"""

import os
import shutil
from pathlib import Path

from cluster.files import fsync_folder
from node.persistence.aof_survey import AofSurvey, survey_aof
from node.persistence.manifest import SIZE_MAX, Manifest, ManifestError, parse
from node.rdb.survey import lines as survey_lines

Report = dict[str, object]


def file_report(path: Path, fix: bool) -> Report:
    """The account of one file; `ok` tells whether it is sound, `cut` how many bytes were cut off. Raises OSError."""
    with path.open("rb") as file:
        found = survey_aof(file)
    report: Report = {"file": str(path), "kind": "aof", "ok": found.error is None, "bytes": found.size}
    report["rdb_keys"] = found.preamble.keys() if found.preamble else 0
    if found.preamble:
        report["rdb"] = found.preamble.report()
    report["commands"] = found.commands
    report["transactions"] = found.transactions
    most = sorted(found.names.items(), key=lambda item: (-item[1], item[0]))[:10]
    report["most"] = dict(most)
    if found.first_timestamp:
        report["timestamps"] = [found.first_timestamp, found.last_timestamp]
    if found.error is not None:
        report["error"] = {"offset": int(found.error.offset), "reason": found.error.reason}
        report["good_until"] = found.good
        report["torn"] = found.torn()
        if fix and found.torn():
            report["cut_to"] = str(_cut(path, found))
            report["cut"] = found.size - found.good
            report["ok"] = True
    return report


def _cut(path: Path, found: AofSurvey) -> Path:
    """Cut the end off; returns where it is kept. Raises OSError."""
    kept = path.with_name(f"{path.name}.cut-{found.good}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.cut-{found.good}-{number}")
    with path.open("rb") as file, kept.open("xb") as copy:
        file.seek(found.good)
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    fsync_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(descriptor, found.good)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return kept


def set_report(path: Path, fix: bool) -> Report:
    """The account of a manifest and of the files that it names. Raises OSError."""
    report: Report = {"file": str(path), "kind": "manifest", "ok": True, "bytes": path.stat().st_size}
    with path.open("rb") as file:
        data = file.read(SIZE_MAX + 1)
    try:
        manifest = parse(data)
    except ManifestError as error:
        report["ok"] = False
        report["error"] = {"line": error.line, "reason": error.reason}
        return report
    report["history"] = [part.name for part in manifest.history]
    report["files"] = files = _files(path.parent, manifest, fix)
    broken = [file for file in files if not file["ok"]]
    report["ok"] = not broken
    if broken:
        report["error"] = {"file": broken[0]["file"], "reason": "a file of the set is broken or missing"}
    return report


def _files(folder: Path, manifest: Manifest, fix: bool) -> list[Report]:
    """The account of each file in the order of loading; one that is not the last is never cut."""
    reports: list[Report] = []
    parts = manifest.files()
    for number, part in enumerate(parts):
        path = folder / part.name
        later = [folder / other.name for other in parts[number + 1 :]]
        last = not any(other.exists() and other.stat().st_size for other in later)
        try:
            report = file_report(path, fix and last)
        except OSError as error:
            report = {"file": str(path), "kind": "aof", "ok": False, "error": {"offset": 0, "reason": error.strerror}}
        report["type"] = part.kind
        reports.append(report)
    return reports


def lines(report: Report) -> list[str]:
    """A report as text."""
    if report["kind"] == "aof":
        return _file_lines(report)
    said = [f"{report['file']}: a manifest of {report['bytes']} bytes"]
    files = report.get("files", [])
    assert isinstance(files, list)
    for file in files:
        said += [f"  {line}" for line in _file_lines(file)]
    if report.get("history"):
        said.append(f"history, to be removed: {report['history']}")
    error = report.get("error")
    if isinstance(error, dict):
        where = f" at line {error['line']}" if error.get("line") else ""
        return [*said, f"BROKEN{where}: {error['reason']}"]
    return [*said, "sound"]


def _file_lines(report: Report) -> list[str]:
    said: list[str] = []
    if "bytes" in report:
        said.append(
            f"{report['file']}: {report['bytes']} bytes, {report['rdb_keys']} keys in its RDB part, "
            f"{report['commands']} commands, {report['transactions']} transactions"
        )
        rdb = report.get("rdb")
        if isinstance(rdb, dict):
            said += [f"  {line}" for line in survey_lines(rdb)]
        most = report["most"]
        assert isinstance(most, dict)
        if most:
            said.append("  " + ", ".join(f"{name} {number}" for name, number in most.items()))
        times = report.get("timestamps")
        if isinstance(times, list):
            said.append(f"  annotated with times from {times[0]} to {times[1]}")
    error = report.get("error")
    if not isinstance(error, dict):
        return [*said, "  sound"]
    said.append(f"{'  ' if said else str(report['file']) + ': '}BROKEN at offset {error['offset']}: {error['reason']}")
    if "cut" in report:
        said.append(
            f"  FIXED: {report['cut']} bytes were cut off, {report['good_until']} are left; what was cut off is in "
            f"{report['cut_to']}"
        )
    elif report.get("torn"):
        said.append(f"  its end is torn: `kvorum check --fix` would keep {report['good_until']} bytes")
    elif "good_until" in report:
        said.append(f"  sound up to offset {report['good_until']}; what comes after may hold data and is not cut off")
    return said
