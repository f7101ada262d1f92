"""What the data and execution floors need from the services above: declared here, implemented there.

The classes are bases with the behaviour of a node that has no such service, so that the engine never tests for None.
They are native classes and not Protocols: a call through one costs two nanoseconds in the compiled engine.
"""

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Store
from node.session import Session


@mypyc_attr(allow_interpreted_subclasses=True)
class Journal:
    """Where the effects of write commands go: the replication stream (backlog and replicas) and the append-only file.

    `active` is tested before anything is built for it; while it is False nothing is ever propagated.
    """

    active: bool  # somebody gets effects: replicas or the file; written by the journal alone
    offset: i64  # of the stream: bytes ever written, continued over failovers

    def __init__(self) -> None:
        self.active = False
        self.offset = 0

    def aim(self, targets: i64) -> None:
        """Where effects go from now on: 1 append-only file, 2 replicas, 3 both."""

    def attach(self, file: "AppendFile") -> None:
        """Effects go to this file too, while it is on."""

    def judge(self) -> None:
        """Say anew who gets effects, after the file was switched on or off."""

    def reselect(self) -> None:
        """Write SELECT before the next command: somebody reads on from here without knowing the database."""

    def raw(self, dbid: i64, buf: bytes, start: i64, end: i64) -> None:
        """A command as it came from the client: `buf[start:end]` is its multibulk form. Adjacent slices are joined."""

    def command(self, dbid: i64, args: list[bytes]) -> None:
        """A command that has to be encoded: rewritten, or split over two reads. `dbid` -1: MULTI and EXEC, no SELECT
        before.
        """

    def message(self, dbid: i64, args: list[bytes]) -> None:
        """A command for replicas alone, which the file does not keep: PUBLISH."""

    def flush(self) -> None:
        """The batch is over: hand what was written to replicas and file."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Snapshots:
    """Point-in-time walkers (RDB save, full sync, rewrite of the append-only file): told before data change, so that
    they can write out first what it was. `active` while any runs.
    """

    active: bool

    def __init__(self) -> None:
        self.active = False

    def before_write(self, slot: i64, key: bytes) -> None:
        """This key is about to change, appear or vanish, in whatever database."""

    def before_clear(self, store: Store) -> None:
        """A whole database is about to be emptied."""

    def reap(self, pieces: i64) -> bool:
        """Free up to so many pieces of what snapshots held; True when there is more to do."""
        return False


@mypyc_attr(allow_interpreted_subclasses=True)
class RdbFiles:
    """Saves the dataset to a file: at once (SAVE), beside the work (BGSAVE), by schedule and at the end."""

    saving: bool  # beside the work
    scheduled: bool  # BGSAVE was asked for in a transaction

    def __init__(self) -> None:
        self.saving = False
        self.scheduled = False

    def save(self) -> bool:
        """SAVE: nobody is served meanwhile; False when the file could not be written (the log says why)."""
        raise NotImplementedError

    def start(self) -> None:
        """BGSAVE: the file will have what is there at this instant."""
        raise NotImplementedError

    def cancel(self) -> None:
        """BGSAVE CANCEL: the old file stays."""
        raise NotImplementedError

    def judge(self) -> None:
        """Say anew whether writes are refused, after a change of options."""

    def before_end(self, wanted: bool | None) -> bool:
        """Save before the process ends, if wanted (None: if the options say when to save); False when that failed."""
        return True

    def reload(self, empty: bool) -> bytes:
        """Load the file into the running node, which is emptied before or not; the reason when it can't, else empty."""
        raise NotImplementedError

    def info(self) -> list[tuple[str, str]]:
        """The fields of INFO persistence about RDB files."""
        return []


class MovingKey:
    """A key that MIGRATE takes along, as it was when the command came."""

    key: bytes
    slot: i64
    payload: bytes  # as DUMP gives it
    expire_at: i64  # Unix ms, 0 = never

    def __init__(self, key: bytes, slot: i64, payload: bytes, expire_at: i64) -> None:
        self.key = key
        self.slot = slot
        self.payload = payload
        self.expire_at = expire_at


@mypyc_attr(allow_interpreted_subclasses=True)
class Migration:
    """Sends keys to another server (MIGRATE)."""

    def send(
        self,
        session: Session,
        args: list[bytes],
        keys: list[MovingKey],
        auth: list[bytes],
        copy: bool,
        replace: bool,
        dbid: i64,
        timeout_ms: i64,
    ) -> None:
        """Send keys of the session's database to host `args[1]`, port `args[2]`, database `dbid`.

        The session waits; it is answered when the target has, and what it has taken and what did not change meanwhile
        is deleted here, unless `copy` is set.
        """
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Replication:
    """The node's role, and what replication commands do. The base is a primary that nobody follows."""

    primary: bool  # False: this node follows another
    link_up: bool  # the link to the primary is established and in sync
    read_only: bool  # a replica that refuses writes of clients
    loading: bool  # the dataset is being replaced or loaded
    stale_refused: bool  # link down and replica-serve-stale-data is no
    good_replicas: i64  # replicas whose last ACK is recent enough for min-replicas-to-write
    primary_host: str
    primary_port: i64
    link_state: bytes  # as ROLE shows it: connect, connecting, sync or connected; none for a primary

    def __init__(self) -> None:
        self.primary = True
        self.link_up = False
        self.read_only = False
        self.loading = False
        self.stale_refused = False
        self.good_replicas = 0
        self.primary_host = ""
        self.primary_port = 0
        self.link_state = b"none"

    def offset(self) -> i64:
        """The stream offset: written as primary, applied as replica."""
        return 0

    def replicas(self) -> list[tuple[str, i64, str, i64, i64]]:
        """(address, port, state, acknowledged offset, seconds since the last ACK) of each replica, as INFO shows
        them.
        """
        return []

    def info(self) -> list[tuple[str, str]]:
        """The fields of INFO replication after `role`."""
        return []

    def position(self) -> dict[bytes, bytes]:
        """The auxiliary fields by which a restarted node may continue its history: repl-stream-db, repl-id,
        repl-offset.
        """
        return {}

    def restore(self, aux: dict[bytes, bytes]) -> None:
        """Go on with the history that the auxiliary fields tell of a file which is being loaded at the start."""

    def follow(self, host: str, port: i64) -> None:
        """REPLICAOF host port."""
        raise NotImplementedError

    def stop_following(self) -> None:
        """REPLICAOF NO ONE: this node becomes a primary."""
        raise NotImplementedError

    def synchronize(self, session: Session, args: list[bytes]) -> None:
        """PSYNC and SYNC: the client becomes a replica."""
        raise NotImplementedError

    def configure(self, session: Session, args: list[bytes]) -> None:
        """REPLCONF."""
        raise NotImplementedError

    def wait(self, session: Session, args: list[bytes], wanted: i64, timeout_ms: i64) -> None:
        """WAIT: answer how many replicas have acknowledged the session's writes, now or when enough have."""
        raise NotImplementedError

    def change_id(self) -> None:
        """Take a new replication ID, so that no replica can continue (DEBUG CHANGE-REPL-ID)."""
        raise NotImplementedError

    def forget(self, session: Session) -> None:
        """A client is gone that was a replica or waits for replicas."""

    def synced(self, offset: i64) -> i64:
        """How many replicas have everything up to this offset on their disks."""
        return 0

    def ask(self) -> None:
        """Have the replicas tell at once how far they are."""

    def end(self) -> None:
        """The process is about to end, its RDB file is written: replicas get nothing that the file does not hold."""


class ScriptMemory:
    """What scripts and functions take, in bytes, and how many there are."""

    vm_scripts: i64  # the runtime of EVAL scripts
    vm_functions: i64
    fixed: i64  # of both: what they take without any script
    scripts: i64  # the texts in the cache, and what keeps them
    functions: i64
    cached: i64  # scripts
    number: i64  # of functions
    libraries: i64

    def __init__(self) -> None:
        self.vm_scripts = 0
        self.vm_functions = 0
        self.fixed = 0
        self.scripts = 0
        self.functions = 0
        self.cached = 0
        self.number = 0
        self.libraries = 0

    def counted(self) -> i64:
        """What counts as used memory: all but what the runtimes take anyway."""
        return self.vm_scripts + self.vm_functions - self.fixed + self.scripts + self.functions


@mypyc_attr(allow_interpreted_subclasses=True)
class Scripts:
    """What runs scripts, as the dispatcher and the hooks of the engine see it."""

    running: bool  # a script is being executed
    busy: bool  # for longer than busy-reply-threshold: everybody else is answered BUSY
    read_only: bool  # the running script may not write
    wrote: bool  # it has executed a write command: from then on it can't be refused or killed
    oom: bool  # memory was exhausted when it began
    flags: i64  # of the running script (node.scripting.shebang)
    slot: i64  # of the keys that it has touched, -1 for none yet
    targets: i64  # where effects go: 1 append-only file, 2 replicas
    function: bytes  # the name of the running function, empty for a script
    busy_text: bytes  # the error for everybody else
    caller: Session | None
    evicted: i64  # scripts that had to leave the cache

    def __init__(self) -> None:
        self.running = False
        self.busy = False
        self.read_only = False
        self.wrote = False
        self.oom = False
        self.flags = 0
        self.slot = -1
        self.targets = 3
        self.function = b""
        self.busy_text = b""
        self.caller = None
        self.evicted = 0

    def replicate(self, targets: i64) -> None:
        """server.set_repl: where effects go from now on (1 append-only file, 2 replicas)."""

    def memory(self) -> ScriptMemory:
        """What scripts take."""
        return ScriptMemory()

    def codes(self) -> list[bytes]:
        """The code of every library of functions, for snapshots."""
        return []

    def adopt(self, codes: list[bytes]) -> None:
        """A snapshot was loaded: its libraries of functions take the place of ours."""


@mypyc_attr(allow_interpreted_subclasses=True)
class AppendFile:
    """The append-only file. The base is that of a node that keeps none."""

    on: bool  # commands are appended: also while the first base is in the making
    enabled: bool  # as appendonly says
    rewriting: bool
    scheduled: bool  # a rewrite was asked for while it could not begin
    holds: bool  # replies wait until the file is synced (appendfsync always)
    synced: i64  # the offset of the stream up to which commands are on the disk

    def __init__(self) -> None:
        self.on = False
        self.enabled = False
        self.rewriting = False
        self.scheduled = False
        self.holds = False
        self.synced = 0

    def append(self, data: bytes, offset: i64) -> None:
        """Append whole commands, the stream's offset being `offset` behind them."""

    def flush(self) -> None:
        """The batch is over and its replies are about to be sent: write what was appended."""

    def judge(self) -> bool:
        """Follow a change of options; False when the file can't be switched on."""
        return True

    def renew(self) -> None:
        """The dataset was replaced as a whole (by a primary's snapshot): what the file holds is over."""

    def acknowledged(self) -> None:
        """A replica has told how far it is: who waits by WAITAOF may have an answer."""

    def start_rewrite(self) -> None:
        """BGREWRITEAOF."""
        raise NotImplementedError

    def wait(self, session: Session, args: list[bytes], local: i64, replicas: i64, timeout_ms: i64) -> None:
        """WAITAOF: answer once the session's writes are synced here (`local` 1) and on so many replicas."""
        raise NotImplementedError

    def reload(self) -> bytes:
        """DEBUG LOADAOF: empty the node and load the file; the reason when it can't, else empty."""
        raise NotImplementedError

    def before_end(self, forced: bool) -> bool:
        """The process is about to end: bring everything to the disk; False when it may not end yet."""
        return True

    def info(self) -> list[tuple[str, str]]:
        """The fields of INFO persistence that every node has."""
        return []

    def sizes(self) -> list[tuple[str, str]]:
        """The fields of INFO persistence that only a node with an append-only file has."""
        return []

    def progress(self) -> tuple[i64, i64]:
        """Keys that a rewrite has written, and has to write; zeros when none runs."""
        return 0, 0

    def durable(self) -> i64:
        """The offset of the stream up to which a restart would find everything; -1: nothing at all."""
        return -1

    def buffered(self) -> i64:
        """Bytes that wait to be written."""
        return 0
