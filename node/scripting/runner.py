"""Runs scripts and functions: what is true while one of them runs, how long it may, and what is answered.

A script that runs longer than `busy-reply-threshold` makes the node busy: the count hook of Lua, which comes every
hundred thousand instructions, runs a turn of the node's loop in which everything but a few commands is answered BUSY,
and what it returns ends the script once somebody has asked for that. The clock that scripts see stands still all the
while.
"""

from collections.abc import Callable
from typing import Any, Final, final

from librt.time import time as wall_time
from mypy_extensions import i64

from node.engine import Engine
from node.errors import OUT_OF_MEMORY, CommandError
from node.memory import make_room
from node.ports import ScriptMemory, Scripts
from node.scripting.cache import Cache, Script
from node.scripting.functions import Code, Function, Library
from node.scripting.host import Host
from node.scripting.libraries import Libraries
from node.scripting.shebang import ALLOW_OOM, ALLOW_STALE, COMPATIBLE, NO_CLUSTER, NO_WRITES
from node.scripting.values import truncated
from node.scripting.vm import Vm
from node.session import Session

LOAD_MOST: Final = 0.5  # seconds that a library may take to register its functions

_STALE: Final = b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
_OOM: Final = b"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
_NO_CLUSTER: Final = b"ERR Can not run script on cluster, 'no-cluster' flag is set."
_READ_ONLY_CALL: Final = b"ERR Can not execute a script with write flag using *_ro command."
_READ_ONLY_REPLICA: Final = b"READONLY You can not run script with write flag on readonly replica."
_NOT_BUSY: Final = b"NOTBUSY No scripts in execution right now."
_NO_REPLICAS: Final = b"NOREPLICAS Not enough good replicas to write."
_BUSY: Final = b"BUSY Valkey is busy running a script. You can only call %b KILL or SHUTDOWN NOSAVE."
_UNKILLABLE: Final = (
    b"UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script "
    b"termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
)


@final
class Scripting(Scripts):
    """The node's scripting."""

    engine: Engine
    session: Session  # in whose name commands of the running script are executed
    host: Host
    cache: Cache
    libraries: Libraries
    registered: list[Function]  # by the library that is being loaded
    adoption_failed: Callable[[str], None]  # libraries of a snapshot can't be loaded
    began: float
    command: list[bytes]  # EVAL or FCALL that runs
    _vm: Vm
    _function_vm: Vm | None
    _verdict: bytes | None  # the error by which the running script has to end
    _loading: bool
    _stopped: Session | None  # is not read while its script keeps the node busy

    def __init__(self, engine: Engine, adoption_failed: Callable[[str], None]) -> None:
        super().__init__()
        self.engine = engine
        self.session = Session(0, engine.executor, engine.stores[0], engine.acl.default_user, 0, 0)
        self.session.executing = True
        self.host = Host(engine, self.session, self.tick, self._register)
        self.cache = Cache()
        self.libraries = Libraries()
        self.registered = []
        self.adoption_failed = adoption_failed
        self.began = 0.0
        self.command = []
        self._vm = Vm(self.host, False)
        self._function_vm = None
        self._verdict = None
        self._loading = False
        self._stopped = None

    # --- scripts and libraries
    def load(self, body: bytes, lasting: bool) -> Script:
        """An EVAL script by its text. Raises CommandError."""
        script = self.cache.load(self._vm, body, lasting)
        self.evicted = self.cache.evicted
        return script

    def flush(self) -> None:
        """SCRIPT FLUSH: the scripts and the runtime that holds them."""
        self.cache.flush()
        self._vm = Vm(self.host, False)

    def function_vm(self) -> Vm:
        """The runtime of libraries; made when there is a first one."""
        vm = self._function_vm
        if vm is None:
            vm = Vm(self.host, True)
            self._function_vm = vm
        return vm

    def load_library(self, code: bytes, replace: bool) -> bytes:
        """FUNCTION LOAD; returns the library's name. Raises CommandError."""
        library: Library = self._timed(lambda vm: self.libraries.parse(vm, self.registered, code, replace))
        self.libraries.add(library)
        return library.name

    def restore_libraries(self, payload: bytes, policy: int) -> None:
        """FUNCTION RESTORE. Raises CommandError."""
        self._timed(lambda vm: self.libraries.restore(vm, self.registered, payload, policy))

    def _timed(self, load: Callable[[Vm], Any]) -> Any:
        """Do something that runs libraries' own code, within the time that this may take."""
        vm = self.function_vm()
        self._loading = True
        self._verdict = None
        self.began = wall_time()
        try:
            return load(vm)
        finally:
            self._loading = False
            self._settle(vm)

    def flush_libraries(self) -> None:
        """FUNCTION FLUSH: the libraries and the runtime that holds them."""
        self.libraries.clear()
        self._function_vm = None

    def codes(self) -> list[bytes]:
        """The code of every library, for snapshots."""
        return self.libraries.codes()

    def adopt(self, codes: list[bytes]) -> None:
        """A snapshot was loaded: its libraries take the place of ours."""
        self.flush_libraries()
        for code in codes:
            try:
                self.load_library(code, True)
            except CommandError as error:
                self.adoption_failed(str(error))

    def memory(self) -> ScriptMemory:
        """What scripts and functions take, for INFO and maxmemory."""
        vm = self._function_vm
        found = ScriptMemory()
        found.vm_scripts = self._vm.memory()
        found.vm_functions = 0 if vm is None else vm.memory()
        found.fixed = self._vm.fixed + (0 if vm is None else vm.fixed)
        found.scripts, found.cached = self.cache.size, len(self.cache.scripts)
        found.functions, found.number = self.libraries.size, self.libraries.count()
        found.libraries = len(self.libraries.libraries)
        return found

    # --- running
    def _refused(self, s: Session, flags: i64, read_only: bool) -> bytes | None:
        """Why a script with a shebang, or a function, may not run now."""
        e = self.engine
        replication = e.replication
        if flags & NO_CLUSTER and e.settings.cluster_enabled:
            return _NO_CLUSTER
        if replication.stale_refused and not flags & ALLOW_STALE:
            return _STALE
        if flags & NO_WRITES == 0:
            if read_only:
                return _READ_ONLY_CALL
            if not s.primary_link:
                if not replication.primary and replication.read_only:
                    return _READ_ONLY_REPLICA
                if replication.primary and len(e.disk_refusal) > 0:
                    return e.disk_refusal
                wanted = e.settings.min_replicas_to_write
                if replication.primary and wanted > 0 and replication.good_replicas < wanted:
                    return _NO_REPLICAS
        if self.oom and flags & (ALLOW_OOM | NO_WRITES) == 0:
            return OUT_OF_MEMORY
        return None

    def run_script(self, s: Session, script: Script, args: list[bytes], keys: i64, read_only: bool) -> None:
        """Run a script for a client; `args` is the whole command, `keys` the number of keys from `args[3]` on."""
        self.function = b""
        self._run(s, self._vm, script.code, script.flags, args, keys, read_only)

    def run_function(self, s: Session, function: Function, args: list[bytes], keys: i64, read_only: bool) -> None:
        """Run a function for a client, as `run_script`."""
        self.function = function.name
        self._run(s, self.function_vm(), function.callback, function.flags, args, keys, read_only)

    def _run(
        self, s: Session, vm: Vm, code: Code, flags: i64, args: list[bytes], keys: i64, read_only: bool
    ) -> None:
        e = self.engine
        self.oom = e.settings.maxmemory > 0 and not make_room(e)
        if flags & COMPATIBLE == 0:
            refusal = self._refused(s, flags, read_only)
            if refusal is not None:
                raise CommandError(refusal)
        self._begin(s, flags, read_only or flags & NO_WRITES != 0)
        self.command = args
        nested = e.in_transaction
        e.in_transaction = True
        try:
            result = vm.run(code, s.reply.resp3, keys, args)
        finally:
            self.running = False
            self.caller = None
            self._settle(vm)
            e.in_transaction = nested
            if not nested:
                e.end_transaction()
        if self.wrote:
            s.write_offset = e.journal.offset
        e.replace_with_nothing()
        self._deliver(s, result)

    def _begin(self, s: Session, flags: i64, read_only: bool) -> None:
        """Take over what the script has from its caller."""
        own = self.session
        own.store = s.store
        own.dbid = s.dbid
        own.user = s.user
        own.readonly = s.readonly
        own.reply.resp3 = False
        self.caller = s
        self.flags = flags
        self.read_only = read_only
        self.wrote = False
        self.slot = -1
        self.targets = 3
        self.running = True
        self.began = 0.0
        self._verdict = None

    def _deliver(self, s: Session, result: object) -> None:
        """Write what the script has returned."""
        reply = s.reply
        if isinstance(result, bytes):
            reply.bulk(result)
        elif result is None or isinstance(result, bool):
            if result:
                reply.integer(1)
            else:
                reply.null()
        elif isinstance(result, int):
            reply.integer(result)
        elif isinstance(result, float):
            reply.integer(truncated(result))
        elif isinstance(result, tuple):
            if result[0] == 0:
                reply.raw(result[1])
            else:
                self._fail(s, result)

    def _fail(self, s: Session, result: tuple[Any, ...]) -> None:
        """Answer a script's error; one that was counted when it happened is not counted again."""
        text: bytes = result[1]
        if result[3]:
            text += b" script: on %b:%d." % (result[2], int(result[3]))
        if result[4]:
            s.reply.error(text)
        else:
            raise CommandError(text)

    # --- running for too long
    def tick(self) -> bytes | None:
        """The count hook: serve others if the script takes long; the error by which it has to end, or None."""
        verdict = self._verdict
        if verdict is not None:
            return verdict
        now = wall_time()
        if self.began == 0.0:
            self.began = now  # the first look at the clock: a script that is over before costs none
            return None
        if self._loading:
            if now - self.began > LOAD_MOST:
                self._verdict = b"ERR FUNCTION LOAD timeout"
            return self._verdict
        threshold = self.engine.settings.busy_reply_threshold
        if threshold > 0 and (now - self.began) * 1000.0 >= float(threshold):
            self._serve_others()
        return self._verdict

    def _serve_others(self) -> None:
        """One turn of the loop while a script runs. Its caller is not read meanwhile; the script's clock stands."""
        e = self.engine
        caller = self.caller
        conn = None if caller is None else caller.conn
        if not self.busy:
            self.busy = True
            self.busy_text = _BUSY % (b"FUNCTION" if self.function else b"SCRIPT")
            e.guard()
            self._stopped = caller
            if conn is not None:
                conn.set_reading(False)
        now_ms, now_us = e.now_ms, e.now_us
        in_transaction, slot, dirty, replaced = e.in_transaction, e.slot, e.dirty, e.replaced
        lingers = e.loop.linger
        e.loop.linger = False
        e.loop.turn(0.0)
        e.loop.linger = lingers
        e.in_transaction, e.slot, e.dirty, e.replaced = in_transaction, slot, dirty, replaced
        e.now_ms, e.now_us = now_ms, now_us
        clock: i64 = (now_ms // 1000) & 0xFFFFFF
        for store in e.stores:
            store.tick(now_ms, clock)
        if e.shutdown_asked:
            e.journal.active = False  # what the script did half-way is nobody's to see
            self._verdict = b"ERR the node is shutting down"

    def _settle(self, vm: Vm) -> None:
        """The script is over: nobody is kept out any more."""
        if self._verdict is not None:
            self._verdict = None
            vm.renew_hook()
        if self.busy:
            self.busy = False
            self.engine.guard()
            conn = None if self._stopped is None else self._stopped.conn
            self._stopped = None
            if conn is not None:
                conn.resume()

    def kill(self, by_script_kill: bool) -> None:
        """SCRIPT KILL and FUNCTION KILL. Raises CommandError."""
        if not self.running:
            raise CommandError(_NOT_BUSY)
        if by_script_kill == (self.function != b""):
            raise CommandError(self.busy_text)
        if self.wrote:
            raise CommandError(_UNKILLABLE)
        name = b"SCRIPT" if by_script_kill else b"FUNCTION"
        self._verdict = b"ERR Script killed by user with " + name + b" KILL."

    def running_ms(self) -> int:
        """For how long the running script has been at it."""
        return int((wall_time() - self.began) * 1000) if self.began else 0

    def replicate(self, targets: i64) -> None:
        """server.set_repl."""
        self.targets = targets

    def _register(self, function: Function) -> None:
        """server.register_function of the library that is being loaded."""
        self.registered.append(function)
