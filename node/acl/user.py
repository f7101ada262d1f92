"""A user: a name, whether it is enabled, its passwords, and its selectors, of which the first is its own (the root).

Passwords are kept as SHA-256 in hexadecimal and compared in constant time. A rule is applied to a copy of the user and
the whole taken over at once (`take`), so that a faulty list of rules changes nothing.
"""

import hashlib
import hmac
from typing import Final, final

from cluster.resp.inline import split_words
from node.acl.selector import RuleError, Selector, folded

DEFAULT: Final = b"default"

NOT_THERE: Final = "The password you are trying to remove from the user does not exist"
NOT_A_HASH: Final = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
_HEXADECIMAL: Final = b"0123456789abcdef"


def digest(password: bytes) -> bytes:
    """SHA-256 in hexadecimal, the form in which passwords are kept."""
    return hashlib.sha256(password).hexdigest().encode()


@final
class User:
    """One user. With `nopass` any password is accepted. A new one is disabled and may do nothing."""

    name: bytes
    enabled: bool
    nopass: bool
    digests: list[bytes]  # SHA-256 of the passwords, in hexadecimal
    selectors: list[Selector]
    restricted: bool  # not every command on everything is allowed: the dispatcher has to check
    channels_open: bool  # whether new selectors allow all channels (acl-pubsub-default)

    def __init__(self, name: bytes, channels_open: bool = False) -> None:
        self.name = name
        self.enabled = False
        self.nopass = False
        self.digests = []
        self.channels_open = channels_open
        self.selectors = [Selector(channels_open)]
        self.restricted = True

    def copy(self) -> "User":
        """An independent user with the same rules."""
        other = User(self.name, self.channels_open)
        other.take(self)
        return other

    def take(self, other: "User") -> None:
        """Have the rules of another user, whose selectors must not change any more."""
        self.enabled = other.enabled
        self.nopass = other.nopass
        self.digests = list(other.digests)
        self.selectors = [selector.copy() for selector in other.selectors]
        self.settle()

    def settle(self) -> None:
        """Recompute `restricted`."""
        self.restricted = not any(selector.unrestricted() for selector in self.selectors)

    # --- passwords
    def set_password(self, password: bytes) -> None:
        """Make this the only password; an empty one lets everybody in, as requirepass does."""
        self.nopass = not password
        self.digests = [digest(password)] if password else []

    def accepts(self, password: bytes) -> bool:
        """Whether the password is one of the user's, in a time that does not tell how close it was."""
        if not self.enabled:
            return False
        if self.nopass:
            return True
        given = digest(password)
        matched = False
        for known in self.digests:
            if hmac.compare_digest(known, given):
                matched = True
        return matched

    # --- rules
    def apply(self, rule: bytes) -> None:
        """Change the user by one rule; the caller calls `settle` after the last. Raises RuleError."""
        word = folded(rule)
        mark = rule[:1]
        if not rule:
            return
        if word == b"on":
            self.enabled = True
        elif word == b"off":
            self.enabled = False
        elif word in (b"skip-sanitize-payload", b"sanitize-payload"):
            pass  # what RESTORE reads is always checked
        elif word == b"nopass":
            self.nopass = True
            self.digests = []
        elif word == b"resetpass":
            self.nopass = False
            self.digests = []
        elif mark in (b">", b"#"):
            self._add_password(digest(rule[1:]) if mark == b">" else _hash(rule[1:]))
        elif mark in (b"<", b"!"):
            self._remove_password(digest(rule[1:]) if mark == b"<" else _hash(rule[1:]))
        elif mark == b"(" and rule.endswith(b")"):
            self._add_selector(rule[1:-1])
        elif word == b"clearselectors":
            self.selectors = self.selectors[:1]
        elif word == b"reset":
            self._reset()
        else:
            self.selectors[0].apply(rule)

    def _add_password(self, hashed: bytes) -> None:
        if hashed not in self.digests:
            self.digests.append(hashed)
        self.nopass = False

    def _remove_password(self, hashed: bytes) -> None:
        if hashed not in self.digests:
            raise RuleError(NOT_THERE)
        self.digests.remove(hashed)

    def _add_selector(self, rules: bytes) -> None:
        selector = Selector(self.channels_open)
        for rule in split_words(rules) or []:
            selector.apply(rule)
        self.selectors.append(selector)

    def _reset(self) -> None:
        self.enabled = False
        self.nopass = False
        self.digests = []
        self.selectors = [Selector(self.channels_open)]

    # --- description
    def flags(self) -> list[bytes]:
        """What ACL GETUSER calls flags."""
        flags = [b"on" if self.enabled else b"off"]
        if self.nopass:
            flags.append(b"nopass")
        return flags

    def describe(self) -> bytes:
        """The rules that make this user, as ACL LIST and configuration files have them."""
        parts = self.flags()
        parts += [b"#" + known for known in self.digests]
        parts.append(self.selectors[0].describe())
        parts += [b"(%b)" % selector.describe() for selector in self.selectors[1:]]
        return b" ".join(parts)


def merge_selectors(rules: list[bytes]) -> list[bytes]:
    """Join selectors that were split at their spaces. Raises UnmatchedParenthesis."""
    merged: list[bytes] = []
    opened: list[bytes] = []
    for rule in rules:
        if opened:
            opened.append(rule)
        elif rule.startswith(b"(") and not rule.endswith(b")"):
            opened = [rule]
            continue
        else:
            merged.append(rule)
        if opened and rule.endswith(b")"):
            merged.append(b" ".join(opened))
            opened = []
    if opened:
        raise UnmatchedParenthesis(opened[0])
    return merged


class UnmatchedParenthesis(Exception):
    """A selector that is not closed; `rule` is its beginning."""

    rule: bytes

    def __init__(self, rule: bytes) -> None:
        super().__init__("a selector is not closed")
        self.rule = rule


def _hash(text: bytes) -> bytes:
    if len(text) != 64 or any(c not in _HEXADECIMAL for c in text):
        raise RuleError(NOT_A_HASH)
    return text
