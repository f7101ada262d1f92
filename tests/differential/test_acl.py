"""ACL against genuine Valkey: rules and what becomes of them, refusals of every kind, the log, and clients cut off."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from cluster.catalog import ALL, COMMANDS
from cluster.catalog.model import CATEGORY_NAMES
from tests.differential.twins import Twin, Twins, start_twins

ROUNDS = 250  # random users in one run
SEED = 20261121
ROWS = [row for row in ALL if row.group != "kvorum" and not row.text.startswith("kvorum")]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair for the module."""
    with start_twins(tmp_path_factory.mktemp("twins")) as found:
        yield found


@pytest.fixture
def twins(servers: Twins) -> Iterator[Twins]:
    """The pair without data, without users but `default`, with an empty log; clients are closed after each test."""
    clean(servers.client())
    yield servers
    servers.hang_up()


def clean(admin: Twin) -> None:
    """As after the start."""
    for line in ("ACL SETUSER default reset on nopass +@all ~* &*", "FLUSHALL", "ACL LOG RESET", "CONFIG RESETSTAT"):
        assert admin.same(line) == b"+OK\r\n"
    for name in admin.same("ACL USERS").split(b"\r\n")[2::2]:
        if name != b"default":
            admin.same("ACL DELUSER " + name.decode())


def without_moments(reply: bytes) -> bytes:
    """A log without ages, moments, ids, and of the client's line only what both servers know alike."""
    reply = re.sub(rb"(age-seconds\r\n)(?:,[^\r]*|\$\d+\r\n[^\r]*)", rb"\1", reply)
    reply = re.sub(rb"((?:timestamp-[a-z-]+|entry-id)\r\n):\d+", rb"\1", reply)
    return re.sub(rb"\$\d+\r\nid=[^\r]*( db=\d+)[^\r]*( cmd=\S+ user=\S+)[^\r]*", rb"\1\2", reply)


def head(reply: bytes) -> bytes:
    """Of a greeting that it is one, of an error the whole."""
    return reply.split(b"\r\n")[0]


def word(text: str) -> str:
    """A word of a script: `""` is empty, `_` a space and `__` an underscore."""
    return "" if text == '""' else text.replace("__", "\0").replace("_", " ").replace("\0", "_")


def run(twins: Twins, script: str, protocol: int = 2) -> None:
    """Run a script: a command a line, `2> ` before it for the second client; `2> (reads)` waits for what it is sent."""
    clients: dict[str, Twin] = {}
    for line in filter(None, (line.strip() for line in script.split("\n"))):
        number, mark, rest = line.partition("> ")
        name, command = (number, rest) if mark and number.isdigit() else ("0", line)
        if name not in clients:
            clients[name] = twins.client(protocol)
        client = clients[name]
        if command == "(reads)":
            theirs, ours = client.oracle.read(1), client.node.read(1)
            assert theirs == ours, f"{line}: Valkey sent {theirs!r}, we {ours!r}"
        elif command.startswith("(sends) "):
            for link in (client.oracle, client.node):
                link.send([word.encode() for word in command[8:].split()])
        else:
            normal = head if command.upper().startswith("HELLO") else without_moments
            theirs, ours = client.both(*(word(part) for part in command.split(" ")))
            assert normal(theirs) == normal(ours), f"{line}: Valkey answered {theirs!r}, we {ours!r}"


# --- rules
RULES = """
on|off|nopass|resetpass|reset|clearselectors|sanitize-payload|skip-sanitize-payload|ON|NoPass|on_|""
~a|~*|~a*_b|~a\tb|~|allkeys|resetkeys|allkeys ~x|~x allkeys|~x ~* ~y|ALLKEYS|~* resetkeys ~x|~a ~a ~b
%R~a|%W~a|%RW~a|%WR~a|%r~a|%w~a %R~a|%~a|%|%R|%W|%RW|%RR~a|%X~a|%Rx~a|%R~a %W~a|%R~* %W~*|%R~a_b|%RW~*|~* %R~x
&a|&*|allchannels|resetchannels|&a &a &b|allchannels &x|&x allchannels|&a_b|&
+get|-get|+GET|+nope|-nope|+|-|+@read|-@read|+@READ|+@all|-@all|+@nope|allcommands|nocommands|ALLCOMMANDS|+@|-@
+config|+config|get|-config|get|+config|get +config|+config -config|get|-config +config|set|+config|get|x|+config|nope
+select|0|+select|0 +select|1|+select|0 +select|+select +select|0|+SELECT|0|-select|0|+get|+select|0 -select|+select|A
+@all -get|+@all -get +get|-@all +get -get|+@all -@read +@read|+@read -@read -@READ|+@hash -@all +@all -@set +sadd
+get +set -get +get|+client|list -client|list +client|-@dangerous +@all|+@all -@dangerous +info|+@connection -auth
>a|>a >b >a|>a <a|<a|>a nopass|nopass >a|>a resetpass|>|>a_b|#x|!x|>a <b|resetpass >x on
#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b|#2BB80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
>secret !2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
(+get)|(+get ~a)|(+get|()|( )|(|)|(+get_~a)|(on)|(>a)|(foo)|(+nope)|(~a|x)|(+get ~a) (+set ~b)|(allkeys +@all -get)
(+get ~a) clearselectors|(+get) reset|(~a) on|(db=1 +get)|(resetdbs)|(alldbs)|((+get))|(reset)|(%R~a %W~b &c +@read)
("+get")|(~"a_b")|(~"a"b +get)|(~'x')|(~"a)|(~\\x41)
db=1|db=1,2|db=2,1,1|db=|db=,|db=1,|db=,1|db=x|db=1x|db=-1|db=-0|db=+1|db=_1|db=1_|db=99|db=2147483647|db=2147483648
DB=3|alldbs|resetdbs|alldbs db=1|db=1 alldbs|db=1 resetdbs|db=1 db=2|resetdbs db=1|ALLDBS|db=99999999999999999999|db=01
db=1,x,-1|foo|foo bar|on foo|~a foo|reset foo|*|=|(|+get ~a &b >c on db=1 (+set ~x &y db=2)
"""


def rule_lists() -> list[list[str]]:
    """The lists of rules above; `|` parts them but where it belongs to a rule with a subcommand or an argument."""
    lists = []
    for line in RULES.strip().split("\n"):
        for rules in re.split(r"(?<!config)(?<!select)(?<!SELECT)(?<!client)(?<!get(?=\|x))\|", line):
            lists.append([word.replace("_", " ") if word != '""' else "" for word in rules.split(" ")])
    return lists


@pytest.mark.parametrize("protocol", [2, 3])
def test_rules_give_the_same_users(twins: Twins, protocol: int) -> None:
    """Every list of rules is taken or refused as by Valkey, on a new user and on one that has rules already."""
    client = twins.client(protocol)
    for number, rules in enumerate(rule_lists()):
        for name, before in ((f"u{number}", []), (f"v{number}", ["on", "~k", "&c", "+@all", "-get", "(+set ~s)"])):
            if before:
                client.both("ACL", "SETUSER", name, *before)
            for command in (["SETUSER", name, *rules], ["GETUSER", name]):
                theirs, ours = client.both("ACL", *command)
                assert theirs == ours, f"{rules}: Valkey answered {theirs!r}, we {ours!r}"
    client.same("ACL LIST")
    client.same("ACL USERS")


def random_rule(rng: random.Random, names: list[str], deep: bool = True) -> str:
    """A rule of any kind, mostly sound."""
    kind = rng.randrange(16)
    pattern = rng.choice(["a", "b", "a*", "k?", "[ab]x", "*", "{a}b"])
    if kind < 5:
        return rng.choice("+-") + rng.choice(names)
    if kind < 8:
        return rng.choice("+-") + "@" + rng.choice([*CATEGORY_NAMES, "all"])
    if kind < 10:
        return rng.choice(["~", "%R~", "%W~", "%RW~"]) + pattern
    if kind < 11:
        return "&" + pattern
    if kind < 12:
        return "db=" + ",".join(str(rng.randrange(5)) for _ in range(rng.randint(1, 3)))
    if kind < 13 and deep:
        return "(" + " ".join(random_rule(rng, names, False) for _ in range(rng.randint(1, 4))) + ")"
    if kind < 14:
        return rng.choice(["+select|1", "+get|a", "+move|b", "+select|2"])
    return rng.choice([
        "allkeys", "resetkeys", "allchannels", "resetchannels", "alldbs", "resetdbs", "on", "off", "nopass", ">p",
        "clearselectors", "reset", "+@all",
    ])  # fmt: skip


TRIED = """
get a|get b|set a 1|set b 1 GET|mget a b ax|mset a 1 b 2|del a b|copy a b|copy b a|copy a b DB 2|copy a b REPLACE DB 3|
copy a b DB x|copy a b DB 1 DB 4|move a 1|move a x|move b 99|select 0|select 1|select x|swapdb 0 1|swapdb 3 4|
swapdb x 1|swapdb 1 x|swapdb 4 x|flushall|flushdb|dbsize|keys *|scan 0|randomkey|rename a b|rename b a|renamenx a b|
object encoding a|object help|memory usage a|config get x|config set x y|client list|client kill a|client id|
publish a x|publish b x|spublish a x|subscribe a|subscribe a b|psubscribe a|psubscribe a*|psubscribe *|ssubscribe a|
ssubscribe a b|unsubscribe a|punsubscribe *|sunsubscribe a|hset a f v|hget a f|hmget a f|sinterstore a b k1|sinter a b|
sintercard 2 a b|sintercard x a|sunionstore b a|smove a b x|zunionstore a 2 b k1|zunionstore a 9 b|zinter 2 a b|
zadd a 1 m|zrangestore a b 0 -1|lmpop 1 a left|lmpop 2 a b left|blmpop 0 2 a b right|blpop a b 0|lmove a b left right|
rpoplpush a b|bzmpop 0 1 a min|touch a|exists a b|expire a 1|ttl a|dump a|restore a 0 x|type a|getex a|getdel a|
append a x|incr a|strlen a|ping|echo x|auth x|hello 3|multi|exec|watch a|unwatch|info|time|wait 0 0|command count|
acl whoami|sort a|sort a by x* get y*|sort a store b|sort_ro a|bitfield a get u8 0|bitfield a set u8 0 1|
migrate h 1 a 0 1|migrate h 1 x 0 1 keys a b|eval x 1 a|eval x 0|eval x 2 a|evalsha x 1 b|fcall f 1 a|xadd a * f v|
xread streams a 0|xreadgroup group g c streams a >|xgroup create a g 0|georadius a 0 0 1 m store b|geosearchstore a b|
pfcount a b|pfmerge a b|bitop and a b|lcs a b|hexpire a 1 fields 1 f|
acl list|save|debug object a|replicaof no one|quit|reset|nope|config|config nope|get|acl|
"""


@pytest.mark.parametrize("seed", [SEED + i for i in range(2)])
def test_random_users_are_allowed_the_same(twins: Twins, seed: int) -> None:
    """Random lists of rules give the same users, and these are allowed and refused the same commands."""
    rng = random.Random(seed)
    client = twins.client(rng.choice([2, 3]))
    names = [row.text for row in ROWS]
    tried = [line for line in TRIED.replace("\n", "").split("|") if line.split(" ")[0].encode() in (*COMMANDS, b"nope")]
    for number in range(ROUNDS):
        name = f"user{number % 20}"
        rules = [random_rule(rng, names) for _ in range(rng.randint(1, 8))]
        commands = [["SETUSER", name, *rules], ["GETUSER", name], ["LIST"]]
        commands += [["DRYRUN", name, *rng.choice(tried).split(" ")] for _ in range(20)]
        for command in commands:
            theirs, ours = client.both("ACL", *command)
            assert theirs == ours, f"seed {seed}, {rules}, {command}: Valkey answered {theirs!r}, we {ours!r}"
        if rng.random() < 0.1:
            client.same(f"SELECT {rng.randrange(5)}")


def test_each_command_is_refused_by_its_own_bit(twins: Twins) -> None:
    """A user with one command of the catalog may run this one alone; a container gives its subcommands."""
    client = twins.client()
    rows = [row for row in ROWS if not row.subcommands]
    for row in rows:
        line = row.text.split("|")
        args = line + ["1"] * (abs(row.arity) - len(line))
        client.same(f"ACL SETUSER u reset allkeys allchannels +{row.text}")
        for command in (args, ["get", "a"], ["client", "id"]):
            theirs, ours = client.both("ACL", "DRYRUN", "u", *command)
            assert theirs == ours, f"+{row.text}, {command}: Valkey answered {theirs!r}, we {ours!r}"


def test_each_command_needs_its_database(twins: Twins) -> None:
    """Without any database, or with the first alone, every command is refused or allowed as by Valkey."""
    client = twins.client()
    client.same("ACL SETUSER none +@all ~* &* resetdbs")
    client.same("ACL SETUSER first +@all ~* &* db=0")
    for row in ROWS:
        if row.subcommands:
            continue
        line = row.text.split("|")
        for name in ("none", "first"):
            theirs, ours = client.both("ACL", "DRYRUN", name, *line, *["1"] * (abs(row.arity) - len(line)))
            assert theirs == ours, f"{row.text} by {name}: Valkey answered {theirs!r}, we {ours!r}"


def test_categories_hold_the_same_commands(twins: Twins) -> None:
    """ACL CAT names the categories, and of each the commands that we have; letters of any case and faults too."""
    client = twins.client()
    client.same("ACL CAT")
    ours_all = {row.name for row in ROWS}
    for name in CATEGORY_NAMES:
        theirs, ours = ({*reply.split(b"\r\n")[2::2]} for reply in client.both("ACL", "CAT", name))
        assert theirs & ours_all == ours & ours_all, name
    for line in ("ACL CAT nope", "ACL CAT @read", "ACL CAT read x", "ACL CAT " + "x" * 200, "acl Cat all"):
        client.same(line)
    assert client.both("ACL", "CAT", "HASH")[1].startswith(b"*")


# --- refusals at work
SCRIPTS = {
    "commands": """
        ACL SETUSER u on nopass ~* &* -@all +get +config|get +select|1 +object|encoding
        2> AUTH u any
        2> GET a
        2> SET a 1
        2> set a 1
        2> CONFIG GET port_
        2> Config Set x y
        2> CONFIG NOPE
        2> CONFIG
        2> NOPE
        2> GET
        2> SELECT 0
        2> SELECT 1
        2> OBJECT ENCODING a
        2> OBJECT HELP
        2> ACL WHOAMI
        2> PING
        2> AUTH u x
        2> HELLO 2
        2> RESET
        2> PING
        ACL LOG
        ACL LOG 2
        ACL LOG 0
        ACL LOG -3
        ACL LOG x
        ACL LOG 1 2
        ACL LOG reset
        ACL LOG RESET x
        ACL LOG
    """,
    "keys": """
        ACL SETUSER u on >pw +@all %R~r %W~w ~rw* resetchannels &c*
        2> AUTH u wrong
        2> AUTH u pw
        2> GET r
        2> GET w
        2> SET w 1
        2> SET r 1
        2> SET w 1 GET
        2> SET rw 1 GET
        2> COPY r w
        2> COPY w r
        2> RENAME r w
        2> RENAME rw1 rw2
        2> MGET r rw1 x
        2> MSET w 1 rw 2 r 3
        2> DEL w rw r
        2> EXISTS r w
        2> SINTERSTORE w r rw
        2> ZUNIONSTORE w 2 r x
        2> ZUNIONSTORE w 9 r
        2> LMPOP 2 rw1 r LEFT
        2> SUBSCRIBE d
        2> PUBLISH c1 x
        2> PUBLISH d x
        2> SPUBLISH d x
        2> PSUBSCRIBE c*
        2> PSUBSCRIBE c1
        2> SUBSCRIBE c1 d
        2> PUNSUBSCRIBE c*
        ACL LOG 20
    """,
    "databases": """
        ACL SETUSER u on nopass +@all ~* &* db=0,3
        2> AUTH u x
        2> SET a 1
        2> SELECT 1
        2> SELECT 3
        2> GET a
        2> MOVE a 1
        2> COPY a b DB 1
        2> COPY a b DB 0
        2> SWAPDB 0 1
        2> SWAPDB 3 0
        2> FLUSHALL
        2> FLUSHDB
        2> DBSIZE
        ACL SETUSER u resetdbs
        2> GET a
        2> DBSIZE
        2> PING
        2> PUBLISH a b
        2> SCAN 0
        ACL LOG
    """,
    "selectors": """
        ACL SETUSER u on nopass -@all +get ~a (+set ~b) (+get +set ~c &x) (+publish &y)
        2> AUTH u x
        2> GET a
        2> GET b
        2> SET a 1
        2> SET b 1
        2> GET c
        2> SET c 1
        2> PUBLISH x 1
        2> PUBLISH y 1
        2> PUBLISH z 1
        2> DEL a
        ACL LOG
    """,
    "transactions": """
        ACL SETUSER u on nopass +@all -@dangerous ~a* &*
        2> AUTH u x
        2> MULTI
        2> SET a 1
        2> SET b 1
        2> FLUSHALL
        2> EXEC
        2> MULTI
        2> SET a 1
        2> AUTH u x
        2> AUTH nobody x
        2> AUTH default x
        2> SET b 2
        2> EXEC
        2> MULTI
        2> AUTH u x
        2> EXEC
        2> MULTI
        2> SET a 1
        2> GET a
        2> PUBLISH c x
        2> SELECT 1
        ACL SETUSER u -set resetchannels db=0
        2> EXEC
        2> MULTI
        2> GET a
        2> GET ab
        2> PING
        ACL SETUSER u resetkeys ~ab
        2> EXEC
        2> MULTI
        2> PING
        ACL SETUSER u -exec
        2> EXEC
        2> DISCARD
        ACL LOG 20
    """,
    "passwords": """
        ACL SETUSER u >one >two
        2> AUTH u one
        ACL SETUSER u on
        2> AUTH u one
        2> ACL WHOAMI
        2> AUTH u three
        2> AUTH u two
        2> AUTH
        2> AUTH a b c
        2> AUTH one
        2> HELLO 3 AUTH u nope
        2> HELLO 2 AUTH u one SETNAME me
        ACL SETUSER u <one off
        2> ACL WHOAMI
        2> AUTH u two
        CONFIG SET requirepass secret
        ACL GETUSER default
        CONFIG GET requirepass
        3> PING
        3> GET
        3> NOPE
        3> HELLO 2
        3> AUTH wrong
        3> AUTH u two
        3> AUTH secret
        3> PING
        3> RESET
        3> PING
        4> PING
        CONFIG SET requirepass _
        CONFIG GET requirepass
        ACL SETUSER default nopass
        4> PING
        4> ACL WHOAMI
        4> AUTH anything
        4> AUTH default anything
        ACL SETUSER default >new
        CONFIG GET requirepass
        5> PING
        5> AUTH new
        ACL SETUSER default off
        6> PING
        5> PING
        6> AUTH default new
        ACL SETUSER default on nopass
        CONFIG SET requirepass x
        CONFIG SET requirepass ""
        ACL GETUSER default
        6> PING
        ACL LOG 20
    """,
    "listeners cut off": """
        ACL SETUSER u on nopass +@all &a &b*
        2> AUTH u x
        2> SUBSCRIBE a
        3> AUTH u x
        3> PSUBSCRIBE b*
        4> AUTH u x
        4> SSUBSCRIBE b1
        5> AUTH u x
        ACL SETUSER u &c
        PUBLISH a hello
        2> (reads)
        ACL SETUSER u resetchannels &a &b
        3> (reads)
        4> (reads)
        PUBLISH a hello
        2> (reads)
        5> PING
        ACL SETUSER u resetchannels
        2> (reads)
        5> PING
    """,
    "users removed": """
        ACL SETUSER u on nopass +@all ~*
        2> AUTH u x
        3> AUTH u x
        3> (sends) BLPOP l 0
        ACL DELUSER nobody u nobody
        2> (reads)
        3> (reads)
        ACL DELUSER default
        ACL DELUSER u
        ACL SETUSER me on nopass +@all
        4> AUTH me x
        4> ACL DELUSER me
        4> (reads)
    """,
    "blocked": """
        ACL SETUSER u on nopass +@all ~*
        2> AUTH u x
        2> (sends) BLPOP l 0
        ACL SETUSER u resetkeys
        RPUSH l 1
        2> (reads)
        LLEN l
        ACL LOG
        INFO commandstats_
    """,
    "scripts": """
        ACL SETUSER u on nopass -@all +@scripting +get +set +publish +select +copy ~a &c db=0,1
        2> AUTH u x
        2> EVAL return_redis.call('get','a') 0
        2> EVAL return_redis.call('get','b') 0
        2> EVAL return_redis.pcall('get','b') 0
        2> EVAL return_redis.call('del','a') 0
        2> EVAL return_redis.call('publish','d','x') 0
        2> EVAL return_redis.call('copy','a','a','DB','3') 0
        2> EVAL return_redis.call('auth','a') 0
        2> EVAL return_redis.acl__check__cmd('get','a') 0
        2> EVAL return_redis.acl__check__cmd('get','b') 0
        2> EVAL return_redis.acl__check__cmd('get') 0
        2> EVAL return_redis.acl__check__cmd('publish') 0
        2> EVAL return_redis.acl__check__cmd('copy','a','a','db','3') 0
        2> EVAL return_redis.acl__check__cmd('nope') 0
        2> EVAL return_redis.acl__check__cmd('config','nope') 0
        2> EVAL return_redis.acl__check__cmd('config') 0
        2> EVAL redis.call('select',1)_return_redis.call('get','a') 0
        2> EVAL redis.call('select',2) 0
        2> EVAL return_1 1 b
        2> EVAL return_1 2 a
        ACL SETUSER u +multi +exec
        2> MULTI
        2> EVAL return_redis.call('get','b') 0
        2> EXEC
        ACL LOG 20
    """,
    "keys in the data": """
        RPUSH l 2 1
        ACL SETUSER u on nopass +@all ~l ~s
        2> AUTH u x
        2> SORT l
        2> SORT l BY nosort
        2> SORT l BY w*
        2> SORT l GET #
        2> SORT l GET w*
        2> SORT l STORE s
        2> SORT l STORE t
        2> SORT t STORE l
        2> SORT l STORE t STORE s
        2> SORT l BY store STORE s
        2> SORT__RO l BY w*
        ACL SETUSER u (+sort %R~* %W~s)
        2> SORT l BY w*
        2> SORT l BY w* STORE s
        2> SORT l BY w* STORE t
        2> BITFIELD s GET u8 0
        ACL SETUSER u reset on +@all %R~l %R~b
        2> BITFIELD b GET u8 0
        2> BITFIELD b OVERFLOW SAT GET u8 0
        2> BITFIELD b GET u8
        2> BITFIELD b SET u8 0 1
        2> BITFIELD b GET u8 0 INCRBY u8 0 1
        2> BITFIELD__RO b GET u8 0
        2> BITFIELD b
        2> MIGRATE h 1 b 0 10
        2> MIGRATE h 1 "" 0 10 KEYS l x
        ACL LOG 20
    """,
    "other commands": """
        ACL
        ACL NOPE
        ACL DRYRUN
        ACL DRYRUN nobody get
        ACL SETUSER
        ACL SETUSER a_b on
        ACL SETUSER u
        ACL DRYRUN u get
        ACL DRYRUN u nope x
        ACL DRYRUN u config nope
        ACL DRYRUN u get a
        ACL GETUSER nobody
        ACL GETUSER
        ACL DELUSER
        ACL GENPASS 0
        ACL GENPASS -1
        ACL GENPASS 4097
        ACL GENPASS x
        ACL GENPASS 1 2
        ACL LOAD
        ACL SAVE
        ACL LOAD x
        ACL WHOAMI x
        ACL LIST x
        CONFIG GET user
        CONFIG GET acl-pubsub-default
        CONFIG GET aclfile
        CONFIG GET acllog-max-len
        CONFIG SET aclfile x
        CONFIG SET user x
        CONFIG SET acl-pubsub-default nope
        CONFIG SET acl-pubsub-default allchannels
        ACL SETUSER w (+get)
        ACL SETUSER u reset
        ACL LIST
        CONFIG SET acl-pubsub-default resetchannels
        ACL SETUSER w (+get) reset (+set)
        ACL LIST
        CLIENT KILL USER nobody
        CLIENT LIST USER nobody
        CLIENT KILL USER w
    """,
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_refusals(twins: Twins, name: str, protocol: int) -> None:
    """Both servers answer each command of a script, on several connections, the same, and log the same."""
    run(twins, SCRIPTS[name], protocol)


def denials(info: bytes) -> list[int]:
    """The counters of INFO, in its order: auth, cmd, key, channel, tls_cert, db."""
    return [int(count) for count in re.findall(rb"acl_access_denied_\w+:(\d+)", info)]


def test_log_keeps_its_length_and_counts(twins: Twins) -> None:
    """acllog-max-len bounds the log, refusals that are alike are counted together, and INFO counts all of them."""
    before = [denials(reply) for reply in twins.client().both("INFO", "stats")]
    run(
        twins,
        """
        ACL SETUSER u on nopass -@all +get ~a
        2> AUTH u x
        2> GET b
        2> SET a b
        2> GET b
        2> GET c
        2> GET d
        ACL LOG
        CONFIG SET acllog-max-len 2
        ACL LOG
        2> GET e
        ACL LOG
        CONFIG SET acllog-max-len 0
        2> GET f
        ACL LOG
        CONFIG SET acllog-max-len 128
        2> GET g
        ACL LOG
        """,
    )
    theirs, ours = (denials(reply) for reply in twins.client().both("INFO", "stats"))
    assert [theirs[i] - before[0][i] for i in range(len(theirs))] == [ours[i] - before[1][i] for i in range(len(ours))]
    assert ours[2] - before[1][2] == 7


def test_passwords_are_made_up_in_the_same_form(twins: Twins) -> None:
    """GENPASS gives as many hexadecimal digits as Valkey, others each time."""
    client = twins.client()
    for bits in ("", "1", "3", "4", "5", "32", "4096"):
        theirs, ours = client.both("ACL", "GENPASS", *filter(None, [bits]))
        assert len(theirs) == len(ours), bits
        assert re.fullmatch(rb"\$\d+\r\n[0-9a-f]+\r\n", ours)
    assert client.both("ACL", "GENPASS")[1] != client.both("ACL", "GENPASS")[1]


def test_help_names_the_same_subcommands(twins: Twins) -> None:
    """HELP has Valkey's lines of syntax; what they do is said in our own words."""
    theirs, ours = (
        [line for line in reply.split(b"\r\n")[1:] if not line.startswith(b"+    ")]
        for reply in twins.client().both("ACL", "HELP")
    )
    assert theirs == ours


def test_arbitrary_bytes(twins: Twins) -> None:
    """Names, patterns, passwords and rules may hold any byte."""
    client = twins.client()
    rng = random.Random(SEED)
    for _ in range(300):
        raw = bytes(rng.choice(b"\0\1\xff\xfe\n\r\t \"'\\()+-@~%&><#!|=abdRW") for _ in range(rng.randint(1, 8)))
        rule = rng.choice([b"", b"~", b">", b"<", b"&", b"+", b"(", b"%R~", b"db="]) + raw
        for args in ((b"SETUSER", b"u", rule), (b"LIST",), (b"SETUSER", b"n" + raw, b"on"), (b"CAT", raw)):
            theirs, ours = client.both(b"ACL", *args)
            assert theirs == ours, f"{args}: Valkey answered {theirs!r}, we {ours!r}"
        client.both(b"ACL", b"DELUSER", b"n" + raw)


def test_a_thousand_rules_at_once(twins: Twins) -> None:
    """Long lists of rules and patterns are kept whole."""
    client = twins.client()
    rules = [f"~k{i}" for i in range(500)] + [f"&c{i}" for i in range(500)]
    assert client.both("ACL", "SETUSER", "u", *rules) == (b"+OK\r\n",) * 2
    client.same("ACL GETUSER u")
    client.same("ACL DRYRUN u get k499")
