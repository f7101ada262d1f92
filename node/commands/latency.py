"""LATENCY: spikes of latency by event, and how long commands take."""

from node.engine import Engine, Handler
from node.errors import CommandError
from node.latency import LatencyMonitor, Spikes
from node.session import Session
from node.table import Entry

_COLUMNS = 80
_ROWS = 4
_LEVELS = b"_-`"  # low, middle and high within a row
_ADVICE = {
    b"command": "SLOWLOG GET shows which commands took long, with their arguments.",
    b"fast-command": "A command that does little took long: look whether the machine is short of processor time.",
    b"expire-cycle": "Many keys expire at the same time: spread their times to live.",
    b"eviction-cycle": "Many keys are evicted at once: raise maxmemory, or give keys a time to live.",
}


def latest(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY LATEST: of each event its name, last second, last spike, worst, sum and count of spikes."""
    w = s.reply
    w.array(len(e.latency.events))
    for name, spikes in e.latency.events.items():
        w.array(6)
        w.bulk(name)
        for number in (spikes.last_time, spikes.last_value, spikes.worst, spikes.total, spikes.count):
            w.integer(number)


def history(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY HISTORY event."""
    spikes = e.latency.events.get(args[2])
    found = spikes.history() if spikes is not None else []
    s.reply.array(len(found))
    for second, ms in found:
        s.reply.array(2)
        s.reply.integer(second)
        s.reply.integer(ms)


def reset(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY RESET [event ...]."""
    s.reply.integer(e.latency.reset(args[2:]))


def graph(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY GRAPH event: its spikes as a line of characters, each labelled with its age."""
    spikes = e.latency.events.get(args[2])
    if spikes is None:
        raise CommandError(b"ERR No samples available for event '%b'" % args[2])
    s.reply.verbatim(draw(args[2], spikes, e.now_ms // 1000))


def draw(name: bytes, spikes: Spikes, now_s: int) -> bytes:
    """The graph: a head line, then for each 80 samples four rows of marks and the ages, written downwards."""
    found = [(second, ms) for second, ms in spikes.history() if ms]
    low, high = min((ms for _, ms in found), default=0), max((ms for _, ms in found), default=0)
    head = b"%b - high %d ms, low %d ms (all time high %d ms)\n" % (name, high, low, spikes.worst)
    lines = [b"-" * _COLUMNS]
    for start in range(0, len(found), _COLUMNS):
        part = found[start : start + _COLUMNS]
        heights = [_height(ms, low, high) for _, ms in part]
        lines += [b"".join(_mark(height, row) for height in heights) for row in range(_ROWS - 1, -1, -1)]
        ages = [_age(now_s - second) for second, _ in part]
        deepest = max(len(age) for age in ages)
        lines += [b"".join(age[i : i + 1] or b" " for age in ages) for i in range(deepest)]
    return head + b"\n".join(lines) + b"\n"


def _height(ms: int, low: int, high: int) -> int:
    """0 for the lowest spike, 11 for the highest: three levels in each of four rows."""
    steps = _ROWS * len(_LEVELS)
    return (ms - low) * (steps - 1) // (high - low) if high > low else 0


def _mark(height: int, row: int) -> bytes:
    """What stands in a row for a spike: its level, a bar below it, nothing above."""
    if height // len(_LEVELS) == row:
        level = height % len(_LEVELS)
        return _LEVELS[level : level + 1]
    return b"|" if height // len(_LEVELS) > row else b" "


def _age(seconds: int) -> bytes:
    for unit, letter in ((86400, b"d"), (3600, b"h"), (60, b"m")):
        if seconds >= unit:
            return b"%d%b" % (seconds // unit, letter)
    return b"%ds" % max(seconds, 0)


def doctor(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY DOCTOR: what was seen, in words."""
    s.reply.verbatim(diagnosis(e.latency).encode())


def diagnosis(monitor: LatencyMonitor) -> str:
    """The report of LATENCY DOCTOR."""
    if monitor.threshold_ms == 0 and not monitor.events:
        return (
            "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> has it record what takes "
            "at least that long.\n"
        )
    if not monitor.events:
        return "No latency spike has been recorded since the monitor was switched on or reset.\n"
    lines = ["Latency spikes were recorded:", ""]
    for number, (name, spikes) in enumerate(monitor.events.items(), 1):
        samples = spikes.history()
        average = sum(ms for _, ms in samples) // len(samples)
        deviation = sum(abs(ms - average) for _, ms in samples) // len(samples)
        period = max(samples[-1][0] - samples[0][0], 1) / len(samples)
        lines.append(
            f"{number}. {name.decode('latin-1')}: {len(samples)} spikes, {average} ms on average, mean deviation "
            f"{deviation} ms, one in {period:.2f} s; the worst took {spikes.worst} ms."
        )
    advice = [_ADVICE[name] for name in monitor.events if name in _ADVICE]
    return "\n".join([*lines, "", *(f"- {text}" for text in advice)]) + "\n"


def histogram(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY HISTOGRAM [command ...]: calls and, by powers of two, in how many microseconds they were done."""
    found = _named(e, args[2:]) if len(args) > 2 else _all(e)
    found = [entry for entry in found if entry.timed() > 0]
    w = s.reply
    w.map(len(found))
    for entry in found:
        w.bulk(entry.name)
        w.map(2)
        w.bulk(b"calls")
        w.integer(entry.timed())
        w.bulk(b"histogram_usec")
        fast = int(entry.timed())
        buckets = [(1, fast)]
        if entry.times is not None:
            buckets = entry.times.by_octave(fast - int(entry.times.slower))
        w.map(len(buckets))
        for bound, calls in buckets:
            w.integer(bound)
            w.integer(calls)


def _all(e: Engine) -> list[Entry]:
    found: list[Entry] = []
    for name, entry in e.table.items():
        if name == entry.name:
            found.append(entry)
            found.extend(entry.subcommands.values())
    return found


def _named(e: Engine, names: list[bytes]) -> list[Entry]:
    """The commands of these names, a container's subcommands for its own."""
    found: list[Entry] = []
    for name in names:
        first, _, second = name.lower().partition(b"|")
        entry = e.table.get(first)
        if entry is None:
            continue
        if second:
            found.extend(sub for sub in (entry.subcommands.get(second),) if sub is not None)
        else:
            found.append(entry)
            found.extend(entry.subcommands.values())
    return found


HELP = [
    b"LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DOCTOR",
    b"    Say in words what the monitor has seen.",
    b"GRAPH <event>",
    b"    Draw the spikes of an event.",
    b"HISTORY <event>",
    b"    Tell time and length of an event's spikes.",
    b"LATEST",
    b"    Tell the last spike of each event.",
    b"RESET [<event> ...]",
    b"    Forget the spikes of events.",
    b"    (of all when none is named)",
    b"HISTOGRAM [COMMAND ...]",
    b"    Tell how the times of commands are distributed, cumulated.",
    b"    Without names those of all commands.",
    b"HELP",
    b"    Print this help.",
]


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """LATENCY HELP."""
    s.reply.simples(HELP)


HANDLERS: dict[bytes, Handler] = {
    b"latency|latest": latest,
    b"latency|history": history,
    b"latency|reset": reset,
    b"latency|graph": graph,
    b"latency|doctor": doctor,
    b"latency|histogram": histogram,
    b"latency|help": help_,
}
