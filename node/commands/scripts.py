"""EVAL, EVALSHA, their read-only forms, and SCRIPT."""

from node.engine import Engine, Handler
from node.errors import CommandError
from node.numbers import is_int, to_int
from node.scripting.cache import Script
from node.scripting.runner import Scripting
from node.session import Session

NO_SCRIPT = b"NOSCRIPT No matching script."
_SHA_LENGTH = 40

_HELP = [
    b"SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DEBUG (YES|SYNC|NO) [<engine_name>]",
    b"    Set the debug mode for subsequent scripts executed of the specified engine.",
    b"    Default engine name: 'lua'",
    b"EXISTS <sha1> [<sha1> ...]",
    b"    Return information about the existence of the scripts in the script cache.",
    b"FLUSH [ASYNC|SYNC]",
    b"    Flush the Lua scripts cache. Very dangerous on replicas.",
    b"    When called without the optional mode argument, the behavior is determined",
    b"     by the lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    b"    * ASYNC: Asynchronously flush the scripts cache.",
    b"    * SYNC: Synchronously flush the scripts cache.",
    b"KILL",
    b"    Kill the currently executing Lua script.",
    b"LOAD <script>",
    b"    Load a script into the scripts cache without executing it.",
    b"SHOW <sha1>",
    b"    Show a script from the scripts cache.",
    b"HELP",
    b"    Print this help.",
]


def scripting(e: Engine) -> Scripting:
    """The node's scripting."""
    found = e.scripts
    assert isinstance(found, Scripting)
    return found


def number_of_keys(args: list[bytes]) -> int:
    """The count of keys of EVAL and FCALL. Raises CommandError."""
    if not is_int(args[2]):
        raise CommandError(b"ERR value is not an integer or out of range")
    count = to_int(args[2])
    if count > len(args) - 3:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError(b"ERR Number of keys can't be negative")
    return count


def _eval(e: Engine, s: Session, args: list[bytes], read_only: bool) -> None:
    keys = number_of_keys(args)
    scripts = scripting(e)
    scripts.run_script(s, scripts.load(args[1], False), args, keys, read_only)


def _evalsha(e: Engine, s: Session, args: list[bytes], read_only: bool) -> None:
    keys = number_of_keys(args)
    scripts = scripting(e)
    script = scripts.cache.find(args[1]) if len(args[1]) == _SHA_LENGTH else None
    if script is None:
        raise CommandError(NO_SCRIPT)
    scripts.run_script(s, script, args, keys, read_only)


def evaluate(e: Engine, s: Session, args: list[bytes]) -> None:
    """EVAL script numkeys [key ...] [arg ...]."""
    _eval(e, s, args, False)


def evaluate_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """EVAL_RO: as EVAL, for scripts that only read."""
    _eval(e, s, args, True)


def evalsha(e: Engine, s: Session, args: list[bytes]) -> None:
    """EVALSHA sha1 numkeys [key ...] [arg ...]."""
    _evalsha(e, s, args, False)


def evalsha_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """EVALSHA_RO: as EVALSHA, for scripts that only read."""
    _evalsha(e, s, args, True)


def load(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT LOAD script."""
    s.reply.bulk(scripting(e).load(args[2], True).sha)


def exists(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT EXISTS sha1 [sha1 ...]."""
    known = scripting(e).cache.scripts
    s.reply.array(len(args) - 2)
    for sha in args[2:]:
        s.reply.integer(1 if sha.lower() in known else 0)


def flush(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT FLUSH [ASYNC | SYNC]: both forget at once, a runtime is given back in one piece."""
    if len(args) > 3 or (len(args) == 3 and args[2].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError(b"ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    scripting(e).flush()
    s.reply.ok()


def show(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT SHOW sha1."""
    script: Script | None = scripting(e).cache.scripts.get(args[2].lower())
    if script is None:
        raise CommandError(NO_SCRIPT)
    s.reply.bulk(script.body)


def kill(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT KILL."""
    scripting(e).kill(True)
    s.reply.ok()


def debug(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT DEBUG YES | SYNC | NO [engine]: there is no debugger here, so that only NO can be honoured."""
    if len(args) > 4:
        raise CommandError(b"ERR unknown subcommand or wrong number of arguments for 'DEBUG'. Try SCRIPT HELP.")
    if len(args) == 4 and args[3].lower() != b"lua":
        raise CommandError(b"ERR No scripting engine found with name '" + args[3] + b"' to enable debug")
    mode = args[2].lower()
    if mode not in (b"yes", b"sync", b"no"):
        raise CommandError(b"ERR Use SCRIPT DEBUG YES/SYNC/NO")
    if mode != b"no":
        raise CommandError(b"ERR this node has no script debugger")
    s.reply.ok()


def help_(e: Engine, s: Session, args: list[bytes]) -> None:
    """SCRIPT HELP."""
    s.reply.simples(_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"eval": evaluate,
    b"eval_ro": evaluate_ro,
    b"evalsha": evalsha,
    b"evalsha_ro": evalsha_ro,
    b"script|load": load,
    b"script|exists": exists,
    b"script|flush": flush,
    b"script|show": show,
    b"script|kill": kill,
    b"script|debug": debug,
    b"script|help": help_,
}
