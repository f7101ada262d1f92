"""The first line of a script or library: `#!<engine> [name=...] [flags=...]`."""

from typing import Final

from mypy_extensions import i64

from cluster.resp.inline import split_words
from node.errors import CommandError

NO_WRITES: Final = 1
ALLOW_OOM: Final = 2
ALLOW_STALE: Final = 4
NO_CLUSTER: Final = 8
ALLOW_CROSS_SLOT: Final = 16
COMPATIBLE: Final = 32  # no shebang: the checks of old times

FLAGS: Final[dict[bytes, int]] = {
    b"no-writes": NO_WRITES, b"allow-oom": ALLOW_OOM, b"allow-stale": ALLOW_STALE, b"no-cluster": NO_CLUSTER,
    b"allow-cross-slot-keys": ALLOW_CROSS_SLOT,
}  # fmt: skip


def flags_of_script(body: bytes) -> i64:
    """The flags of an EVAL script; raises CommandError for a shebang that is none."""
    if not body.startswith(b"#!"):
        return COMPATIBLE
    head, found, _ = body.partition(b"\n")
    if not found:
        raise CommandError(b"ERR Invalid script shebang")
    words = split_words(head)
    if not words:
        raise CommandError(b"ERR Invalid engine in script shebang")
    flags: i64 = 0
    for word in words[1:]:
        if not word.startswith(b"flags="):
            raise CommandError(b"ERR Unknown lua shebang option: " + word)
        for name in word[6:].split(b",") if len(word) > 6 else ():
            known = FLAGS.get(name)
            if known is None:
                raise CommandError(b"ERR Unexpected flag in script shebang: " + name)
            flags |= known
    if words[0][2:].lower() != b"lua":
        raise CommandError(b"ERR Could not find scripting engine '" + words[0][2:] + b"'")
    return flags


def code_of(body: bytes) -> bytes:
    """The code without its shebang, the line kept, so that errors name the right one."""
    if not body.startswith(b"#!"):
        return body
    return body[body.find(b"\n") :]
