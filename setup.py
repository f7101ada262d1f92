"""The build step that compiles the hot modules by mypyc, and the key table by Cython; everything else about the project
is in pyproject.toml.

A compiler helps, but is no condition: without one, with KVORUM_NO_COMPILE=1, or when compiling fails, the install goes
on with the same modules interpreted, and with the plain store instead of the key table. `kvorum info` says which ones
run. KVORUM_SANITIZE=1 builds the key table alone, with assertions and for the address sanitizer.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    from mypyc.build import mypycify
except ImportError:  # an install without build isolation and without mypy
    mypycify = None
try:
    from Cython.Build import cythonize
except ImportError:
    cythonize = None

# One path a line: the Makefile reads this list too. Compiled as one group, so that calls between them stay direct.
COMPILED = [
    "cluster/slots.py",
    "cluster/loop.py",
    "cluster/resp/encode.py",
    "cluster/resp/errors.py",
    "cluster/resp/inline.py",
    "cluster/resp/replies.py",
    "cluster/resp/requests.py",
    "cluster/catalog/model.py",
    "cluster/catalog/keys.py",
    "node/acl/check.py",
    "node/acl/log.py",
    "node/acl/registry.py",
    "node/acl/selector.py",
    "node/acl/user.py",
    "node/admission.py",
    "node/blocking.py",
    "node/clients.py",
    "node/commandlog.py",
    "node/defrag.py",
    "node/clientmemory.py",
    "node/compact.py",
    "node/descriptors.py",
    "node/digest.py",
    "node/dispatch.py",
    "node/engine.py",
    "node/errors.py",
    "node/eviction.py",
    "node/expire.py",
    "node/frozen.py",
    "node/frozentable.py",
    "node/gate.py",
    "node/grisu.py",
    "node/keyspace.py",
    "node/latency.py",
    "node/match.py",
    "node/memory.py",
    "node/monitors.py",
    "node/numbers.py",
    "node/ports.py",
    "node/pubsub.py",
    "node/reaper.py",
    "node/rdb/decode.py",
    "node/rdb/encode.py",
    "node/rdb/file.py",
    "node/rdb/opcodes.py",
    "node/rdb/pieces.py",
    "node/redaction.py",
    "node/rdb/reader.py",
    "node/rdb/streams.py",
    "node/rdb/values.py",
    "node/script_checks.py",
    "node/scripting/bytecode.py",
    "node/scripting/cache.py",
    "node/scripting/functions.py",
    "node/scripting/host.py",
    "node/scripting/libraries.py",
    "node/scripting/runner.py",
    "node/scripting/shebang.py",
    "node/scripting/values.py",
    "node/scripting/vm.py",
    "node/session.py",
    "node/settings.py",
    "node/slotmap.py",
    "node/slotstats.py",
    "node/stats.py",
    "node/store.py",
    "node/table.py",
    "node/timing.py",
    "node/tracking.py",
    "node/tuning.py",
    "node/upkeep.py",
    "node/types/fieldtimes.py",
    "node/types/geohash.py",
    "node/types/hash.py",
    "node/types/hll.py",
    "node/types/intset.py",
    "node/types/listnode.py",
    "node/types/listpack.py",
    "node/types/quicklist.py",
    "node/types/plainleaf.py",
    "node/types/scan.py",
    "node/types/set.py",
    "node/types/stream.py",
    "node/types/streamblock.py",
    "node/types/streamgroup.py",
    "node/types/streamid.py",
    "node/types/zblocks.py",
    "node/types/zpacked.py",
    "node/types/ziplist.py",
    "node/types/zset.py",
    "node/waiting.py",
    "node/commands/bitfield.py",
    "node/commands/bits.py",
    "node/commands/connection.py",
    "node/commands/generic.py",
    "node/commands/generic_expire.py",
    "node/commands/generic_scan.py",
    "node/commands/hash_fields.py",
    "node/commands/geo.py",
    "node/commands/geo_common.py",
    "node/commands/geo_search.py",
    "node/commands/hashes.py",
    "node/commands/hyperloglog.py",
    "node/commands/lcs.py",
    "node/commands/list_blocking.py",
    "node/commands/list_common.py",
    "node/commands/list_index.py",
    "node/commands/lists.py",
    "node/commands/migrate.py",
    "node/commands/pubsub.py",
    "node/commands/reading.py",
    "node/commands/replication.py",
    "node/commands/scanning.py",
    "node/commands/scripts.py",
    "node/commands/functions.py",
    "node/commands/sets.py",
    "node/commands/stream_claims.py",
    "node/commands/stream_common.py",
    "node/commands/stream_groups.py",
    "node/commands/stream_info.py",
    "node/commands/stream_reading.py",
    "node/commands/streams.py",
    "node/commands/sort.py",
    "node/commands/strings.py",
    "node/commands/strings_set.py",
    "node/commands/transactions.py",
    "node/commands/zset_blocking.py",
    "node/commands/zset_common.py",
    "node/commands/zset_ranges.py",
    "node/commands/zset_stores.py",
    "node/commands/zsets.py",
    "node/replication/backlog.py",
    "node/replication/cutter.py",
    "node/replication/journal.py",
    "node/persistence/aof_apply.py",
    "node/persistence/aof_writer.py",
    "node/persistence/aofparse.py",
    "node/persistence/snapshot.py",
    "proxy/allowlist.py",
    "proxy/channels.py",
    "proxy/client.py",
    "proxy/commands.py",
    "proxy/hub.py",
    "proxy/info.py",
    "proxy/lanes.py",
    "proxy/lines.py",
    "proxy/listener.py",
    "proxy/pending.py",
    "proxy/routing.py",
    "proxy/session.py",
    "proxy/skipper.py",
    "proxy/split.py",
    "proxy/texts.py",
    "proxy/transaction.py",
    "proxy/upstream.py",
    "proxy/waiting.py",
]

SLOW = "Kvorum is installed uncompiled: it works, but is several times slower"
LARGE = "Kvorum is installed without its key table: it works, but takes two to three times the memory"

KEY_TABLE = "node.keytable.table"
KEY_TABLE_SOURCES = Path("node/keytable")
SANITIZE = os.environ.get("KVORUM_SANITIZE") == "1"
SANITIZER = [
    "-O1", "-g", "-UNDEBUG", "-DKT_EVERY_BLOCK_MALLOC", "-fsanitize=address,undefined", "-fno-omit-frame-pointer",
]  # fmt: skip


def c_compiler() -> str | None:
    """The C compiler that Python would call, or None when it is not on this machine."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    return shutil.which(words[0]) if words else None


def say(reason: str, what: str = SLOW) -> None:
    """Tell the user, past the silence that pip lays over builds, why something was not compiled."""
    message = f"{what} ({reason})."
    print(message, file=sys.stderr, flush=True)
    try:
        with Path("/dev/tty").open("w") as terminal:
            terminal.write(f"\n{message}\n")
    except OSError:
        pass  # no terminal: the build log has the message


def extensions() -> list[Extension]:
    """The compiled group, or nothing."""
    if os.environ.get("KVORUM_NO_COMPILE") == "1":
        say("KVORUM_NO_COMPILE=1 is set")
        return []
    if c_compiler() is None:
        say("no C compiler found; install gcc or clang and the Python headers, then install again")
        return []
    return key_table() if SANITIZE else [*compiled(), *key_table()]


def key_table() -> list[Extension]:
    """The extension of the compact store, or nothing."""
    if cythonize is None:
        say("Cython is missing; pip install Cython, then install again", LARGE)
        return []
    extension = Extension(
        KEY_TABLE,
        [str(KEY_TABLE_SOURCES / "table.pyx")],
        depends=[str(path) for glob in ("*.h", "*.pxi") for path in KEY_TABLE_SOURCES.glob(glob)],
        include_dirs=[str(KEY_TABLE_SOURCES)],
        extra_compile_args=SANITIZER if SANITIZE else ["-O2"],
        extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
    )
    try:
        translated = list(cythonize([extension], build_dir="build", force=SANITIZE, quiet=True))
    except Exception as error:
        say(f"Cython could not translate it: {error}", LARGE)
        return []
    for one in translated:
        one.optional = not SANITIZE  # which cythonize forgets
    return translated


def compiled() -> list[Extension]:
    """The group of mypyc, or nothing."""
    if mypycify is None:
        say("mypyc is missing; pip install 'mypy[mypyc]', then install again")
        return []
    try:
        # Strictness is the business of `make lint`; here a missing stub of some library must not stop the build.
        options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
        return list(mypycify([*options, *COMPILED], opt_level="2", debug_level="0", multi_file=True))
    except (Exception, SystemExit) as error:  # mypyc ends the process when a module does not type-check
        say(f"mypyc could not translate the modules: {type(error).__name__} {error}")
        return []


class BuildOrGoWithout(build_ext):
    """Builds the group, and when that fails leaves none of it behind, since a half of it could not be imported.

    The key table is optional by itself.
    """

    def build_extension(self, extension: Extension) -> None:
        """Build with as many compilers side by side as there are cores; left alone, setuptools starts one at a time."""
        one = self.compiler.compile

        def side_by_side(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return [name for names in pool.map(lambda source: one([source], **options), sources) for name in names]

        self.compiler.compile = side_by_side
        try:
            super().build_extension(extension)
        except Exception as error:
            if extension.name == KEY_TABLE:
                say(f"compiling failed: {error}", LARGE)
            raise
        finally:
            self.compiler.compile = one

    def run(self) -> None:
        """Build all extensions or none."""
        try:
            super().run()
        except Exception as error:
            for output in self.get_outputs():
                Path(output).unlink(missing_ok=True)
            if self.inplace or self.editable_mode:
                for extension in self.extensions:
                    Path(self.get_ext_filename(extension.name)).unlink(missing_ok=True)
            self.extensions = []
            say(f"compiling failed: {error}")


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOrGoWithout})
