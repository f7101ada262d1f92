"""Runs scripts: the runtime, the cache of EVAL scripts, and what is true while one of them runs."""

import hashlib
from typing import Any, Final, final

from mypy_extensions import i64

from node.engine import Engine
from node.errors import CommandError
from node.memory import make_room
from node.ports import Scripts
from node.scripting.host import Host
from node.scripting.sandbox import MEMORY_LIMIT, Function, close_sandbox, new_runtime
from node.scripting.shebang import (
    ALLOW_OOM,
    ALLOW_STALE,
    COMPATIBLE,
    NO_CLUSTER,
    NO_WRITES,
    code_of,
    flags_of_script,
)
from node.scripting.values import truncated
from node.session import Session

EVAL_SCRIPTS_MOST: Final = 500  # scripts that came by EVAL and are kept; those of SCRIPT LOAD stay
ARGUMENTS_MOST: Final = 200  # handed over in one call, further ones in portions before

_NOT_ENOUGH_MEMORY: Final = b"ERR not enough memory"
_STALE: Final = b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
_OOM: Final = (
    b"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
)  # fmt: skip
_NO_CLUSTER: Final = b"ERR Can not run script on cluster, 'no-cluster' flag is set."
_READ_ONLY_CALL: Final = b"ERR Can not execute a script with write flag using *_ro command."
_READ_ONLY_REPLICA: Final = b"READONLY You can not run script with write flag on readonly replica."
_NOT_BUSY: Final = b"NOTBUSY No scripts in execution right now."
_NO_REPLICAS: Final = b"NOREPLICAS Not enough good replicas to write."


@final
class Script:
    """A compiled script. `function` is the Lua function."""

    body: bytes
    flags: i64
    function: object
    lasting: bool  # came by SCRIPT LOAD: not evicted

    def __init__(self, body: bytes, flags: i64, function: object, lasting: bool) -> None:
        self.body = body
        self.flags = flags
        self.function = function
        self.lasting = lasting


@final
class Scripting(Scripts):
    """The node's scripting: one runtime for EVAL scripts, their cache, and the state of the script that runs."""

    engine: Engine
    session: Session
    host: Host
    scripts: dict[bytes, Script]
    passing: dict[bytes, None]  # SHA1 of the scripts that came by EVAL, the one used longest ago first
    _compile: Function
    _enter: Function
    _stage: Function
    _renew: Function
    _runtime: Any

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.session = Session(0, engine.executor, engine.stores[0], engine.acl.default_user, 0, 0)
        self.session.executing = True
        self.host = Host(engine, self.session, self.tick)
        self.scripts = {}
        self.passing = {}
        self._open()

    def _open(self) -> None:
        """Make the runtime; whatever was compiled before is gone."""
        runtime = new_runtime()
        compile_, enter, stage, renew = close_sandbox(runtime, self.host.callables())
        self._runtime = runtime
        self._compile, self._enter, self._stage, self._renew = compile_, enter, stage, renew
        self.host.memory_used = runtime.get_memory_used
        self.host.memory_limit = MEMORY_LIMIT

    # --- the cache
    def load(self, body: bytes, lasting: bool) -> bytes:
        """Compile a script if it is not known yet; returns its SHA1. Raises CommandError."""
        sha = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        known = self.scripts.get(sha)
        if known is not None:
            if lasting and not known.lasting:
                known.lasting = True
                del self.passing[sha]
            return sha
        flags = flags_of_script(body)
        if len(body) * 8 > MEMORY_LIMIT:
            raise CommandError(_NOT_ENOUGH_MEMORY)
        compiled = self._compile(code_of(body), b"@user_script")
        if isinstance(compiled, tuple):
            raise CommandError(b"ERR Error compiling script (new function): " + compiled[1])
        if not lasting:
            self._make_place()
            self.passing[sha] = None
        self.scripts[sha] = Script(body, flags, compiled, lasting)
        return sha

    def _make_place(self) -> None:
        """Forget the passing script that was used longest ago when there are as many as are kept."""
        if len(self.passing) >= EVAL_SCRIPTS_MOST:
            oldest = next(iter(self.passing))
            del self.passing[oldest]
            del self.scripts[oldest]
            self.evicted += 1

    def find(self, sha: bytes) -> Script | None:
        """A script by its SHA1, noted as used."""
        script = self.scripts.get(sha)
        if script is None:
            sha = sha.lower()
            script = self.scripts.get(sha)
        if script is not None and not script.lasting and len(self.passing) > 1:
            del self.passing[sha]
            self.passing[sha] = None
        return script

    def flush(self) -> None:
        """SCRIPT FLUSH."""
        self.scripts = {}
        self.passing = {}
        self._open()

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
                wanted = e.settings.min_replicas_to_write
                if replication.primary and wanted > 0 and replication.good_replicas < wanted:
                    return _NO_REPLICAS
        if self.oom and flags & (ALLOW_OOM | NO_WRITES) == 0:
            return _OOM
        return None

    def run(self, s: Session, script: Script, args: list[bytes], keys: i64, read_only: bool) -> None:
        """Run a script for a client; `args` is the whole command, `keys` the number of keys from `args[3]` on."""
        e = self.engine
        flags = script.flags
        self.oom = e.settings.maxmemory > 0 and not make_room(e)
        if flags & COMPATIBLE == 0:
            refusal = self._refused(s, flags, read_only)
            if refusal is not None:
                raise CommandError(refusal)
        own = self.session
        own.store = s.store
        own.dbid = s.dbid
        own.user = s.user
        own.readonly = s.readonly
        own.asking = s.asking
        own.reply.resp3 = False
        self.caller = s
        self.flags = flags
        self.read_only = read_only or flags & NO_WRITES != 0
        self.wrote = False
        self.slot = -1
        self.running = True
        nested = e.in_transaction
        e.in_transaction = True
        try:
            result = self._call(script.function, s.reply.resp3, keys, args)
        finally:
            self.running = False
            self.caller = None
            e.in_transaction = nested
            if not nested:
                e.end_transaction()
        if self.wrote:
            s.write_offset = e.journal.offset
        e.replace_with_nothing()
        self._deliver(s, result)

    def _call(self, function: object, resp3: bool, keys: i64, args: list[bytes]) -> object:
        try:
            if len(args) - 3 <= ARGUMENTS_MOST:
                return self._enter(function, resp3, keys, *args[3:])
            at: i64 = 3
            while at < len(args):
                self._stage(at == 3, *args[at : at + ARGUMENTS_MOST])
                at += ARGUMENTS_MOST
            return self._enter(function, resp3, -1 - keys)
        except Exception as error:
            return (1, b"ERR " + str(error).encode(), b"", 0, False)

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
            text += b" script: %bon %b:%d." % (self.name, result[2], int(result[3]))
        if result[4]:
            s.reply.error(text)
        else:
            raise CommandError(text)

    def kill(self, script: bool) -> None:
        """SCRIPT KILL and FUNCTION KILL. Raises CommandError."""
        raise CommandError(_NOT_BUSY)

    def tick(self) -> bytes | None:
        """The count hook of the running script."""
        return None
