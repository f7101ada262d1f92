"""The cache of EVAL scripts. Those that came by EVAL are passing: the one used longest ago leaves first."""

import hashlib
from typing import Final, final

from mypy_extensions import i64

from node.errors import CommandError
from node.scripting.functions import Code
from node.scripting.shebang import code_of, flags_of_script
from node.scripting.vm import Vm

PASSING_MOST: Final = 500
_COST: Final = 200  # bytes of a script beside its text, roughly Valkey's


@final
class Script:
    """A compiled script."""

    sha: bytes
    body: bytes
    flags: i64
    code: Code
    lasting: bool  # came by SCRIPT LOAD: not evicted

    def __init__(self, sha: bytes, body: bytes, flags: i64, code: Code, lasting: bool) -> None:
        self.sha = sha
        self.body = body
        self.flags = flags
        self.code = code
        self.lasting = lasting


@final
class Cache:
    """Scripts by SHA1."""

    scripts: dict[bytes, Script]
    size: i64  # bytes of their texts and what keeps them
    evicted: i64
    _passing: dict[bytes, None]

    def __init__(self) -> None:
        self.scripts = {}
        self.size = 0
        self.evicted = 0
        self._passing = {}

    def load(self, vm: Vm, body: bytes, lasting: bool) -> Script:
        """The script of this text, compiled if it is not known yet. Raises CommandError."""
        sha = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        known = self.scripts.get(sha)
        if known is not None:
            if lasting and not known.lasting:
                known.lasting = True
                del self._passing[sha]
            self._note(sha, known)
            return known
        flags = flags_of_script(body)
        function, problem = vm.compile(code_of(body), b"@user_script")
        if function is None:
            raise CommandError(b"ERR Error compiling script (new function): " + problem)
        if not lasting:
            self._make_place()
            self._passing[sha] = None
        script = Script(sha, body, flags, Code(function), lasting)
        self.scripts[sha] = script
        self.size += len(body) + _COST
        return script

    def _make_place(self) -> None:
        if len(self._passing) >= PASSING_MOST:
            oldest = next(iter(self._passing))
            del self._passing[oldest]
            self.size -= len(self.scripts.pop(oldest).body) + _COST
            self.evicted += 1

    def _note(self, sha: bytes, script: Script) -> None:
        """A script was used: it is the last to leave."""
        if not script.lasting and len(self._passing) > 1:
            del self._passing[sha]
            self._passing[sha] = None

    def find(self, sha: bytes) -> Script | None:
        """A script by its SHA1 in either case, noted as used."""
        script = self.scripts.get(sha)
        if script is None:
            sha = sha.lower()
            script = self.scripts.get(sha)
        if script is not None:
            self._note(sha, script)
        return script

    def flush(self) -> None:
        """Forget all."""
        self.scripts = {}
        self.size = 0
        self._passing = {}
