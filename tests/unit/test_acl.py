"""The default user: open until it has a password."""

from node.acl import Acl


def test_without_password_everybody_is_let_in() -> None:
    """Before a password is set any password of `default` is accepted; other users do not exist."""
    acl = Acl()

    assert acl.open()
    assert acl.authenticate(b"default", b"anything") is acl.default_user
    assert acl.authenticate(b"nobody", b"anything") is None


def test_with_password_only_it_is_accepted() -> None:
    """requirepass closes the door for all other passwords and keeps none in the clear; removing it opens again."""
    acl = Acl()
    acl.require(b"secret")

    assert not acl.open()
    assert acl.authenticate(b"default", b"secret") is acl.default_user
    assert acl.authenticate(b"default", b"Secret") is None
    assert acl.authenticate(b"default", b"") is None
    assert acl.default_user.digests == [b"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"]
    acl.require(b"")
    assert acl.open()
    assert acl.authenticate(b"default", b"whatever") is acl.default_user
