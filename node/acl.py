"""Who a client is. For now there is one user, `default`, with or without a password (requirepass).

A session refers to its User, and the dispatcher asks `user` what it may do; more users, with rules for commands, keys
and channels, take their place beside `default` in `Acl.users`.
"""

import hashlib
import hmac
from typing import Final, final

DEFAULT: Final = b"default"


@final
class User:
    """One user. Without a password (`nopass`) any password is accepted."""

    name: bytes
    enabled: bool
    nopass: bool
    digests: list[bytes]  # SHA-256 of the passwords, in hexadecimal

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.enabled = True
        self.nopass = True
        self.digests = []

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


def digest(password: bytes) -> bytes:
    """SHA-256 in hexadecimal, the form in which passwords are kept."""
    return hashlib.sha256(password).hexdigest().encode()


@final
class Acl:
    """The users of this node."""

    default_user: User
    users: dict[bytes, User]

    def __init__(self) -> None:
        self.default_user = User(DEFAULT)
        self.users = {DEFAULT: self.default_user}

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
