"""All users of a node: found, changed, authenticated, read from a file's text and written as one."""

import hmac
from typing import Final, final

from node.acl.log import AclLog
from node.acl.selector import RuleError, channel_in, has_spaces
from node.acl.user import DEFAULT, UnmatchedParenthesis, User, digest, merge_selectors

NOT_CHANGED: Final = b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed"


class AclFileError(Exception):
    """An ACL file with faults; `text` names all of them in one line."""

    text: bytes

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("utf-8", "replace"))
        self.text = text


def new_default() -> User:
    """The user that everybody is before AUTH: enabled, without password, unrestricted."""
    user = User(DEFAULT)
    for rule in (b"+@all", b"~*", b"&*", b"on", b"nopass"):
        user.apply(rule)
    user.settle()
    return user


@final
class Acl:
    """The users of this node. `default_user` stays the same object whatever becomes of its rules."""

    default_user: User
    users: dict[bytes, User]
    log: AclLog
    channels_open: bool  # acl-pubsub-default: new users may use all channels

    def __init__(self) -> None:
        self.default_user = new_default()
        self.users = {DEFAULT: self.default_user}
        self.log = AclLog()
        self.channels_open = False

    def require(self, password: bytes) -> None:
        """requirepass: the password of `default`, b"" for none. Clients that are connected stay authenticated."""
        self.default_user.set_password(password)

    def open(self) -> bool:
        """Whether a new client is authenticated as `default` without AUTH."""
        return self.default_user.nopass and self.default_user.enabled

    def authenticate(self, name: bytes, password: bytes) -> User | None:
        """The user, or None when name and password don't fit; unknown names take the time of known ones."""
        user = self.users.get(name)
        if user is None:
            hmac.compare_digest(digest(password), digest(name))
            return None
        return user if user.accepts(password) else None

    # --- changes
    def staged(self, name: bytes, rules: list[bytes]) -> User:
        """The user as the rules would make it, not yet in force. Raises RuleError with the text of the whole error."""
        user = self.users.get(name)
        changed = User(name, self.channels_open) if user is None else user.copy()
        changed.channels_open = self.channels_open
        try:
            merged = merge_selectors(rules)
        except UnmatchedParenthesis as unmatched:
            raise RuleError(f"Unmatched parenthesis in acl selector starting at '{_shown(unmatched.rule)}'.") from None
        for rule in merged:
            try:
                changed.apply(rule)
            except RuleError as error:
                raise RuleError(f"Error in ACL SETUSER modifier '{_shown(rule)}': {error.text}") from None
        changed.settle()
        return changed

    def put(self, staged: User) -> User:
        """Put a staged user in force; who holds the user sees the new rules. Returns it."""
        user = self.users.get(staged.name)
        if user is None:
            self.users[staged.name] = staged
            return staged
        user.take(staged)
        return user

    def remove(self, name: bytes) -> User | None:
        """Delete a user; None when there is none of this name."""
        return self.users.pop(name, None)

    def replace(self, users: dict[bytes, User]) -> None:
        """Put the users of a file in force; without a `default` among them it has its first rules."""
        self.default_user.take(users.get(DEFAULT) or new_default())
        self.users = {**users, DEFAULT: self.default_user}

    # --- descriptions
    def names(self) -> list[bytes]:
        """All names in the order of their bytes."""
        return sorted(self.users)

    def lines(self) -> list[bytes]:
        """A `user` line for each user, as ACL LIST and files have them."""
        return [b"user %b %b" % (name, self.users[name].describe()) for name in self.names()]

    # --- files
    def read(self, text: bytes, path: bytes) -> dict[bytes, User]:
        """The users of an ACL file. Raises AclFileError naming every fault, with `path` as the file's name."""
        users: dict[bytes, User] = {}
        faults: list[bytes] = []
        for number, line in enumerate(text.split(b"\n"), 1):
            words = line.strip(b" \t\r\n").split(b" ")
            if words != [b""]:
                faults += self._read_line(users, words, b"%b:%d" % (path, number), number)
        if faults:
            raise AclFileError(b"".join(faults) + NOT_CHANGED)
        return users

    def _read_line(self, users: dict[bytes, User], words: list[bytes], place: bytes, number: int) -> list[bytes]:
        if words[0] != b"user" or len(words) < 2:
            return [place + b" should start with user keyword followed by the username. "]
        name = words[1]
        if has_spaces(name):
            return [b"'%b: username '%b' contains invalid characters. " % (place, name)]
        if name in users:
            return [b"WARNING: Duplicate user '%b' found on line %d. " % (name, number)]
        user = User(name, self.channels_open)
        users[name] = user
        try:
            rules = merge_selectors(words[2:])
        except UnmatchedParenthesis:
            return [place + b": Unmatched parenthesis in selector definition."]
        faults = _apply_all(user, [rule.strip(b"\t\r\n") for rule in rules], place)
        user.settle()
        return faults


def _apply_all(user: User, rules: list[bytes], place: bytes) -> list[bytes]:
    """Apply all rules; every unknown name is a fault; of others, which may show secrets, only the kind of the first."""
    faults: list[bytes] = []
    told = False
    for rule in rules:
        try:
            user.apply(rule)
        except RuleError as error:
            text = error.text.encode()
            if error.unknown:
                faults.append(b"%b: Error in applying operation '%b': %b. " % (place, rule, text))
            elif not told:
                faults.append(b"%b: %b. " % (place, text))
                told = True
    return faults


def lost_channels(before: User, after: User) -> list[bytes] | None:
    """The channel patterns that subscribers must keep to now; None when no subscription can have been lost."""
    if any(selector.all_channels for selector in after.selectors):
        return None
    left = [channel for selector in after.selectors for channel in selector.channels]
    for selector in before.selectors:
        if selector.all_channels or any(channel not in left for channel in selector.channels):
            return left
    return None


def subscriptions_allowed(patterns: list[bytes], channels: list[bytes], listened: list[bytes]) -> bool:
    """Whether the channel patterns allow these subscriptions: to channels, and to `listened` patterns."""
    return all(channel_in(patterns, channel, False) for channel in channels) and all(
        channel_in(patterns, pattern, True) for pattern in listened
    )


def _shown(rule: bytes) -> str:
    """A rule for an error text, up to a null byte; `encode` with surrogateescape gives the bytes back."""
    return rule.split(b"\0")[0].decode("utf-8", "surrogateescape")
