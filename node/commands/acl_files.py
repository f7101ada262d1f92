"""Users in files: the `user` lines of the configuration, and the file that `aclfile` names."""

from pathlib import Path

from cluster.configfile import FILE_MAX
from cluster.files import write_file
from cluster.options import Words
from node.acl import DEFAULT, AclFileError, RuleError, User
from node.acl.registry import new_default
from node.acl.selector import has_spaces
from node.acl.user import UnmatchedParenthesis, merge_selectors
from node.engine import Engine


class UserLineError(Exception):
    """A `user` line of the configuration that cannot be used; the text says which user and why, and no rule."""


def configure_users(e: Engine) -> None:
    """Make the users of the configuration and of the ACL file at the start. Raises UserLineError and AclFileError."""
    lines = e.settings.options.lines("user")
    if lines and e.settings.options.text("aclfile"):
        raise UserLineError("users are declared in the configuration and aclfile is set too; choose one of them")
    seen: set[bytes] = set()
    for line in lines:
        shown = line[0].decode("utf-8", "replace")
        if has_spaces(line[0]):
            raise UserLineError("Spaces not allowed in ACL usernames")
        if line[0] in seen:
            raise UserLineError(
                f"Error in user declaration '{shown}': Duplicate user found. "
                "A user can only be defined once in config files"
            )
        seen.add(line[0])
        e.acl.put(_declared(e, line))
    if e.settings.options.text("aclfile"):
        e.acl.replace(read_file(e))


def _declared(e: Engine, line: Words) -> User:
    """The user that a line describes; `default` begins anew too."""
    user = User(line[0], e.acl.channels_open)
    shown = line[0].decode("utf-8", "replace")
    try:
        for rule in merge_selectors(list(line[1:])):
            user.apply(rule)
    except RuleError as error:
        raise UserLineError(f"Error in user declaration '{shown}': {error.text}") from None
    except UnmatchedParenthesis:
        raise UserLineError(f"Error in user declaration '{shown}': Wrong format") from None
    user.settle()
    return user


def configuration_lines(e: Engine) -> list[Words]:
    """What CONFIG REWRITE writes for the users: nothing where a file has them, or where there is only `default` as
    requirepass makes it.
    """
    if e.settings.options.text("aclfile"):
        return []
    stock = new_default()
    stock.set_password(e.settings.password)
    if list(e.acl.users) == [DEFAULT] and e.acl.default_user.describe() == stock.describe():
        return []
    return [(name, *e.acl.users[name].describe().split(b" ")) for name in e.acl.names()]


def _path(e: Engine) -> Path:
    return Path(e.settings.directory) / e.settings.options.string("aclfile")


def read_file(e: Engine) -> dict[bytes, User]:
    """The users of the ACL file. Raises AclFileError."""
    named = e.settings.options.text("aclfile")
    try:
        with _path(e).open("rb") as file:
            text = file.read(FILE_MAX + 1)
    except OSError as error:
        reason = (error.strerror or "unknown error").encode()
        raise AclFileError(b"Error loading ACLs, opening file '%b': %b" % (named, reason)) from None
    if len(text) > FILE_MAX:
        raise AclFileError(b"Error loading ACLs, opening file '%b': File too large" % named)
    return e.acl.read(text, named)


def save_file(e: Engine) -> None:
    """Write all users to the ACL file, whole or not at all. Raises OSError."""
    write_file(_path(e), b"".join([line + b"\n" for line in e.acl.lines()]))
