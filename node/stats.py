"""Counters of a node, for INFO: native integers that the hot path adds to, and rates sampled ten times a second.

Hits, misses and expiries are counted inside the stores, calls and times of a command in its table entry, network
bytes in the loop; what is here is everything else. CONFIG RESETSTAT zeroes what Valkey zeroes.
"""

from typing import Final, final

from mypy_extensions import i64

SAMPLES: Final = 16  # as Valkey's STATS_METRIC_SAMPLES
ERRORS_MAX: Final = 128  # different error prefixes that are counted; beyond them none is, as in Valkey
ERRORS_FULL: Final = b"ERRORSTATS_DISABLED"


@final
class Rate:
    """Units a second of a growing counter, averaged over the last 16 samples."""

    _samples: list[i64]
    _next: i64
    _last_value: i64
    _last_ms: i64

    def __init__(self) -> None:
        self._samples = [0] * SAMPLES
        self._next = 0
        self._last_value = 0
        self._last_ms = 0

    def sample(self, value: i64, now_ms: i64) -> None:
        """Record the counter's value now; the first call only sets the base."""
        elapsed: i64 = now_ms - self._last_ms
        if self._last_ms > 0 and elapsed > 0:
            grown: i64 = value - self._last_value
            self._samples[self._next] = grown * 1000 // elapsed if grown > 0 else 0
            self._next = (self._next + 1) % SAMPLES
        self._last_value = value
        self._last_ms = now_ms

    def per_second(self) -> i64:
        """The average."""
        total: i64 = 0
        for value in self._samples:
            total += value
        return total // SAMPLES

    def clear(self) -> None:
        """Forget the samples."""
        self._samples = [0] * SAMPLES
        self._last_ms = 0


@final
class LoadProgress:
    """How far loading a file has come; the counters stay when it is done."""

    started_ms: i64
    total: i64  # bytes of the files
    loaded: i64
    used_mem: i64  # that the file claims
    keys_loaded: i64
    keys_expired: i64

    def __init__(self) -> None:
        self.begin(0, 0)

    def begin(self, now_ms: i64, total: i64) -> None:
        """A file of so many bytes is about to be loaded."""
        self.started_ms = now_ms
        self.total = total
        self.loaded = 0
        self.used_mem = 0
        self.keys_loaded = 0
        self.keys_expired = 0

    def fields(self, now_ms: i64) -> list[tuple[str, str]]:
        """The fields of INFO persistence while a file is being loaded."""
        share = float(self.loaded) / float(self.total) if self.total else 0.0
        elapsed = (now_ms - self.started_ms) // 1000
        left = int(float(elapsed) / share - float(elapsed)) if share and elapsed else 1
        return [
            ("loading_start_time", str(self.started_ms // 1000)),
            ("loading_total_bytes", str(self.total)),
            ("loading_rdb_used_mem", str(self.used_mem)),
            ("loading_loaded_bytes", str(self.loaded)),
            ("loading_loaded_perc", f"{share * 100:.2f}"),
            ("loading_eta_seconds", str(left)),
        ]


@final
class Stats:
    """One a process. Counters that only grow, until RESETSTAT."""

    started_ms: i64
    commands: i64
    connections: i64
    rejected_connections: i64
    expired_keys: i64
    expired_fields: i64  # of hashes
    expired_time_cap: i64  # active expiry cycles that stopped at their time limit
    evicted_keys: i64
    evicted_clients: i64
    error_replies: i64
    unexpected_errors: i64
    reads: i64
    writes: i64
    output_limit_disconnections: i64
    query_limit_disconnections: i64
    auth_denied: i64
    command_denied: i64
    key_denied: i64
    channel_denied: i64
    database_denied: i64
    sync_full: i64
    sync_partial_ok: i64
    sync_partial_err: i64
    repl_input: i64
    repl_output: i64
    turns: i64  # of the event loop
    defrag_hits: i64  # blocks that defragmentation moved
    defrag_misses: i64  # and left where they were
    defrag_key_hits: i64  # those of them that are keys'
    defrag_key_misses: i64
    defrag_ms: i64  # that passes took, the pauses between their slices included
    defrag_share: i64  # percent of the time that the pass may take, 0: there is none
    defrag_since_ms: i64  # when it began
    errors: dict[bytes, i64]
    ops: Rate
    input_rate: Rate
    output_rate: Rate
    net_input_base: i64  # what the loop had counted at the last reset
    net_output_base: i64
    hits_base: i64
    misses_base: i64
    peak_memory: i64  # bytes, as Engine.used_memory counts them
    last_save_ms: i64  # of the dataset on disk; the start while there is none
    rdb_saves: i64  # begun
    load: "LoadProgress"
    run_id: str  # 40 hex digits, anew at each start

    def __init__(self, started_ms: i64, run_id: str = "0" * 40) -> None:
        self.started_ms = started_ms
        self.last_save_ms = started_ms
        self.load = LoadProgress()
        self.run_id = run_id
        self.errors = {}
        self.ops = Rate()
        self.input_rate = Rate()
        self.output_rate = Rate()
        self.net_input_base = 0
        self.net_output_base = 0
        self.hits_base = 0
        self.misses_base = 0
        self.peak_memory = 0
        self.defrag_share = 0
        self.defrag_since_ms = 0
        self.auth_denied = 0  # RESETSTAT keeps these five, as in Valkey
        self.command_denied = 0
        self.key_denied = 0
        self.channel_denied = 0
        self.database_denied = 0
        self._clear()

    def _clear(self) -> None:
        self.commands = 0
        self.connections = 0
        self.rejected_connections = 0
        self.expired_keys = 0
        self.expired_fields = 0
        self.expired_time_cap = 0
        self.evicted_keys = 0
        self.evicted_clients = 0
        self.error_replies = 0
        self.unexpected_errors = 0
        self.reads = 0
        self.writes = 0
        self.output_limit_disconnections = 0
        self.query_limit_disconnections = 0
        self.rdb_saves = 0
        self.sync_full = 0
        self.sync_partial_ok = 0
        self.sync_partial_err = 0
        self.repl_input = 0
        self.repl_output = 0
        self.turns = 0
        self.defrag_hits = 0
        self.defrag_misses = 0
        self.defrag_key_hits = 0
        self.defrag_key_misses = 0
        self.defrag_ms = 0

    def reset(self, net_input: i64, net_output: i64, hits: i64, misses: i64) -> None:
        """CONFIG RESETSTAT; the arguments are the counters kept elsewhere, from which INFO then subtracts them."""
        self._clear()
        self.errors = {}
        self.ops.clear()
        self.input_rate.clear()
        self.output_rate.clear()
        self.net_input_base = net_input
        self.net_output_base = net_output
        self.hits_base = hits
        self.misses_base = misses

    def count_error(self, text: bytes) -> None:
        """An error reply (without its `-`): count it by its first word."""
        self.error_replies += 1
        errors = self.errors
        space = text.find(b" ")
        prefix = text if space < 0 else text[:space]
        known = errors.get(prefix)
        if known is not None:
            errors[prefix] = known + 1
        elif ERRORS_FULL in errors:
            errors[ERRORS_FULL] += 1
        elif len(errors) >= ERRORS_MAX:
            self.errors = {ERRORS_FULL: 1}
        else:
            errors[prefix] = 1

    def sample(self, now_ms: i64, net_input: i64, net_output: i64) -> None:
        """Called by cron about ten times a second."""
        self.ops.sample(self.commands, now_ms)
        self.input_rate.sample(net_input, now_ms)
        self.output_rate.sample(net_output, now_ms)
