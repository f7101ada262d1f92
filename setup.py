"""The build step that compiles the hot modules by mypyc; everything else about the project is in pyproject.toml.

A compiler helps, but is no condition: without one, with KVORUM_NO_COMPILE=1, or when compiling fails, the install goes
on with the same modules interpreted. `kvorum info` says which ones run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    from mypyc.build import mypycify
except ImportError:  # an install without build isolation and without mypy
    mypycify = None

# One path a line: the Makefile reads this list too. Compiled as one group, so that calls between them stay direct.
COMPILED = [
    "cluster/slots.py",
]

SLOW = "Kvorum is installed uncompiled: it works, but is several times slower"


def c_compiler() -> str | None:
    """The C compiler that Python would call, or None when it is not on this machine."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    return shutil.which(words[0]) if words else None


def say(reason: str) -> None:
    """Tell the user, past the silence that pip lays over builds, why nothing was compiled."""
    message = f"{SLOW} ({reason})."
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
    if mypycify is None:
        say("mypyc is missing; pip install 'mypy[mypyc]', then install again")
        return []
    try:
        # Strictness is the business of `make lint`; here a missing stub of some library must not stop the build.
        options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
        return list(mypycify([*options, *COMPILED], opt_level="3", debug_level="0", multi_file=False))
    except (Exception, SystemExit) as error:  # mypyc ends the process when a module does not type-check
        say(f"mypyc could not translate the modules: {type(error).__name__} {error}")
        return []


class BuildOrGoWithout(build_ext):
    """Builds the group, and when that fails leaves none of it behind, since a half of it could not be imported."""

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
