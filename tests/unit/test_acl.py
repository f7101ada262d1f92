"""Users and their rules: passwords, what a rule leaves behind, what a check answers, the log, and files."""

from __future__ import annotations

import pytest

from cluster.catalog import resolve
from cluster.catalog.model import ACCESS, DELETE, INSERT, UPDATE
from node.acl import Acl, AclFileError, RuleError, User
from node.acl.check import (
    DENIED_CHANNEL,
    DENIED_COMMAND,
    DENIED_DATABASE,
    DENIED_KEY,
    access_of,
    changed_since,
    check,
    check_with_every_key,
    explain,
)
from node.acl.log import MULTI, TOPLEVEL, AclLog
from node.acl.registry import lost_channels, subscriptions_allowed

SECRET_HASH = b"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"


def user(*rules: bytes) -> User:
    """A user made by rules."""
    made = User(b"u")
    for rule in rules:
        made.apply(rule)
    made.settle()
    return made


def refused(who: User, line: bytes, dbid: int = 0) -> tuple[int, int] | None:
    """Reason and argument of a refusal."""
    args = line.split(b" ")
    command = resolve(args)
    assert command is not None
    denial = check(who, command, args, dbid, 16)
    return None if denial is None else (denial.reason, denial.position)


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
    assert acl.default_user.digests == [SECRET_HASH]
    acl.require(b"")
    assert acl.open()
    assert acl.authenticate(b"default", b"whatever") is acl.default_user


def test_default_is_not_checked_and_others_are() -> None:
    """Only a user without any restriction spares the dispatcher the check, by its own rules or by one selector."""
    assert not Acl().default_user.restricted
    assert user().restricted
    assert user(b"+@all", b"~*").restricted
    assert not user(b"+@all", b"~*", b"&*").restricted
    assert user(b"+@all", b"~*", b"&*", b"-get").restricted
    assert not user(b"+@all", b"~*", b"&*", b"-get", b"+get").restricted
    assert user(b"+@all", b"~*", b"&*", b"db=0").restricted
    assert not user(b"(+@all ~* &*)").restricted


def test_disabled_users_cannot_log_in() -> None:
    """A user that is off is refused whatever its password."""
    acl = Acl()
    acl.put(acl.staged(b"u", [b">secret"]))
    assert acl.authenticate(b"u", b"secret") is None
    acl.put(acl.staged(b"u", [b"on"]))
    assert acl.authenticate(b"u", b"secret") is acl.users[b"u"]
    acl.put(acl.staged(b"u", [b"<secret", b">other"]))
    assert acl.authenticate(b"u", b"secret") is None


@pytest.mark.parametrize(
    ("rules", "description"),
    [
        ([], b"off resetchannels -@all"),
        ([b"on", b"nopass", b"+@all", b"~*", b"&*"], b"on nopass ~* &* +@all"),
        ([b"%R~a", b"%W~a", b"%W~b"], b"off ~a %W~b resetchannels -@all"),
        ([b"+config|get", b"-config|set", b"+config"], b"off resetchannels -@all +config"),
        ([b"+@read", b"-@READ", b"+GET"], b"off resetchannels -@all -@read +get"),
        ([b"db=2,1", b"&x", b"(+get ~k)"], b"off resetchannels &x db=1,2 -@all (~k resetchannels -@all +get)"),
        ([b"resetdbs", b">secret"], b"off #" + SECRET_HASH + b" resetchannels resetdbs -@all"),
        ([b"+@all", b"on", b"(+get)", b"reset"], b"off resetchannels -@all"),
        ([b"(+get)", b"clearselectors", b"+select|0", b"+select|1"], b"off resetchannels -@all +select|0 +select|1"),
    ],
)
def test_descriptions(rules: list[bytes], description: bytes) -> None:
    """A user is described by the rules that make it; they make the same user again."""
    made = user(*rules)
    assert made.describe() == description
    assert Acl().staged(b"u", description.split(b" ")).describe() == description


@pytest.mark.parametrize(
    "rule",
    [b"+nope", b"-@nope", b"foo", b"<nope", b"#1", b"~a b", b"&a b", b"%X~a", b"db=x", b"db=-1", b"+config|get|x",
     b"+get|", b"(foo)", b"(on)"],
)  # fmt: skip
def test_a_faulty_rule_changes_nothing(rule: bytes) -> None:
    """Rules are staged: when one is refused none is in force, and the user is not even made."""
    acl = Acl()
    with pytest.raises(RuleError, match="Error in ACL SETUSER modifier"):
        acl.staged(b"u", [b"on", b"+get", rule])
    assert list(acl.users) == [b"default"]
    acl.put(acl.staged(b"u", [b"on", b"~k"]))
    with pytest.raises(RuleError):
        acl.staged(b"u", [b"+get", b"(+set ~x)", rule])
    assert acl.users[b"u"].describe() == b"on ~k resetchannels -@all"


def test_staging_does_not_touch_the_user() -> None:
    """What is staged shares nothing with the user in force."""
    acl = Acl()
    acl.put(acl.staged(b"u", [b"%R~k", b"&c", b"+select|1", b"db=1", b"(~s)"]))
    before = acl.users[b"u"].describe()
    staged = acl.staged(b"u", [b"%W~k", b"&d", b"+select|2", b"-get", b"db=2", b"(~t)", b">x"])
    assert acl.users[b"u"].describe() == before
    assert acl.put(staged) is acl.users[b"u"]
    assert acl.users[b"u"].describe() == staged.describe()


def test_refusals_by_reason() -> None:
    """Database before command before key before channel; the argument to blame is named."""
    who = user(b"+@read", b"+publish", b"+select", b"+select|5", b"+copy", b"%R~r*", b"%W~w*", b"&c*", b"db=0,3")
    assert refused(who, b"GET r") is None
    assert refused(who, b"GET r", 1) == (DENIED_DATABASE, 0)
    assert refused(who, b"SET r 1") == (DENIED_COMMAND, 0)
    assert refused(who, b"MGET r r2 x y") == (DENIED_KEY, 3)
    assert refused(who, b"COPY r w") is None
    assert refused(who, b"COPY w r") == (DENIED_KEY, 1)
    assert refused(who, b"COPY w r DB 2") == (DENIED_DATABASE, 4)
    assert refused(who, b"SELECT 3") is None
    assert refused(who, b"SELECT 1") == (DENIED_DATABASE, 1)
    assert refused(who, b"SELECT 99") is None
    assert refused(who, b"PUBLISH c1 m") is None
    assert refused(who, b"PUBLISH d m") == (DENIED_CHANNEL, 1)
    assert refused(who, b"AUTH x") is None
    assert refused(who, b"ZINTER 9 r") is None  # malformed: the command says so itself


def test_the_best_selector_counts() -> None:
    """One selector must allow all; else the refusal that came furthest is told."""
    who = user(b"+get", b"~a", b"(+set ~b)", b"(+get +publish &x ~c db=1)")
    assert refused(who, b"GET a") is None
    assert refused(who, b"SET a 1") == (DENIED_KEY, 1)
    assert refused(who, b"GET c", 1) is None
    assert refused(who, b"GET c", 0) == (DENIED_KEY, 1)
    assert refused(who, b"PUBLISH y 1") == (DENIED_CHANNEL, 1)
    assert refused(who, b"DEL a") == (DENIED_COMMAND, 0)


def test_first_arguments() -> None:
    """`+command|argument` allows the command with this first argument, in any case, until the command is ruled on."""
    who = user(b"+select|1", b"+echo|Hi")
    assert refused(who, b"SELECT 1") is None
    assert refused(who, b"SELECT 2") == (DENIED_COMMAND, 0)
    assert refused(who, b"ECHO hI") is None
    who.apply(b"-echo")
    assert refused(who, b"ECHO hi") == (DENIED_COMMAND, 0)


def test_patterns_are_subscribed_to_literally() -> None:
    """PSUBSCRIBE needs its pattern among the rules; a rule that would match it is not enough."""
    who = user(b"+@pubsub", b"&a*")
    assert refused(who, b"PSUBSCRIBE a*") is None
    assert refused(who, b"PSUBSCRIBE ab*") == (DENIED_CHANNEL, 1)
    assert refused(who, b"SUBSCRIBE ab a b") == (DENIED_CHANNEL, 3)
    assert refused(who, b"UNSUBSCRIBE b") is None


def test_access_of_key_flags() -> None:
    """Returning or copying data reads, any change writes; what does neither needs no more than any pattern."""
    assert access_of(ACCESS) == 1
    assert [access_of(flag) for flag in (INSERT, DELETE, UPDATE)] == [2, 2, 2]
    assert access_of(ACCESS | UPDATE) == 3
    assert access_of(0) == 0


def test_commands_with_keys_in_the_data() -> None:
    """SORT BY and GET need a selector that allows the command and every key."""
    args = [b"GET", b"k"]
    command = resolve(args)
    assert command is not None
    for rules, allowed in (
        ([b"+get", b"~k"], False), ([b"+get", b"~*"], True), ([b"+get", b"%R~*"], True),
        ([b"+get", b"%W~*", b"~k"], False), ([b"+get", b"~k", b"(~*)"], False), ([b"(+get %R~*)"], True),
    ):  # fmt: skip
        assert check_with_every_key(user(*rules), command, args, 0, 16, ACCESS) is allowed, rules


def test_texts() -> None:
    """Only DRYRUN names the key; EXEC says what has changed."""
    who = user(b"+get", b"~a")
    args = [b"GET", b"secret-name"]
    command = resolve(args)
    assert command is not None
    denial = check(who, command, args, 0, 16)
    assert denial is not None
    assert explain(denial, who, command, args) == b"No permissions to access a key"
    assert explain(denial, who, command, args, True) == b"User u has no permissions to access the 'secret-name' key"
    assert changed_since(denial).endswith(b"no permission to touch the specified keys")


def test_log_counts_what_is_alike() -> None:
    """Refusals within a minute that agree are one entry, brought to the front; only ten entries are looked at."""
    log = AclLog()
    log.add(DENIED_KEY, TOPLEVEL, b"k", b"u", b"first", 1000, 128)
    log.add(DENIED_KEY, MULTI, b"k", b"u", b"x", 1000, 128)
    log.add(DENIED_KEY, TOPLEVEL, b"k", b"u", b"second", 61_000, 128)
    assert [(x.id, x.count, x.client) for x in log.entries] == [(0, 2, b"second"), (1, 1, b"x")]
    log.add(DENIED_KEY, TOPLEVEL, b"k", b"u", b"third", 121_001, 128)
    assert [x.id for x in log.entries] == [2, 0, 1]
    for i in range(10):
        log.add(DENIED_KEY, TOPLEVEL, b"k%d" % i, b"u", b"", 121_001, 128)
    log.add(DENIED_KEY, TOPLEVEL, b"k", b"u", b"", 121_001, 5)
    assert len(log.entries) == 5
    assert log.entries[0].count == 1


def test_faulty_files_are_refused_whole() -> None:
    """Every fault is named with its line, no rule that may be a secret is shown, and nothing is loaded."""
    acl = Acl()
    text = (
        b"user a on >pass +nope +@nono\n\nnobody\nuser a on\nuser\nuser b #zz (~x\nuser c >secret foo bar\nuser d\x00\n"
    )
    with pytest.raises(AclFileError) as caught:
        acl.read(text, b"/f")
    assert caught.value.text == (
        b"/f:1: Error in applying operation '+nope': Unknown command or category name in ACL. "
        b"/f:1: Error in applying operation '+@nono': Unknown command or category name in ACL. "
        b"/f:3 should start with user keyword followed by the username. "
        b"WARNING: Duplicate user 'a' found on line 4. "
        b"/f:5 should start with user keyword followed by the username. "
        b"/f:6: Unmatched parenthesis in selector definition."
        b"/f:7: Syntax error. "
        b"'/f:8: username 'd\x00' contains invalid characters. "
        b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    )
    assert list(acl.users) == [b"default"]


def test_files_read_back() -> None:
    """What is written is read as the same users; without `default` it gets its first rules, in the same object."""
    acl = Acl()
    acl.put(acl.staged(b"a", [b"on", b">x", b"~k", b"+@read", b"-get", b"(+set ~s db=1)"]))
    acl.put(acl.staged(b"default", [b"-@all"]))
    lines = acl.lines()
    other = Acl()
    kept = other.default_user
    other.replace(other.read(b"\n".join(lines), b"f"))
    assert other.lines() == lines
    assert other.default_user is kept
    other.replace(other.read(b"\n".join(lines[:1]), b"f"))
    assert kept.describe() == b"on nopass ~* &* +@all"


def test_which_subscriptions_are_lost() -> None:
    """Nothing is lost while all patterns stay or all channels are allowed; else subscriptions are looked at."""
    before = user(b"&a", b"&b*")
    assert lost_channels(before, user(b"&*")) is None
    assert lost_channels(before, user(b"&b*", b"&a", b"&c")) is None
    assert lost_channels(before, user(b"(&a)", b"(&b*)")) is None
    assert lost_channels(before, user(b"&a")) == [b"a"]
    assert lost_channels(user(b"&*"), user(b"&a")) == [b"a"]
    assert subscriptions_allowed([b"a*"], [b"a", b"ab"], [b"a*"])
    assert not subscriptions_allowed([b"a*"], [b"b"], [])
    assert not subscriptions_allowed([b"a*"], [], [b"ab*"])
