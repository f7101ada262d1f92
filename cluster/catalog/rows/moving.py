"""Rows: sorting, and keys that move to another server."""

from cluster.catalog.build import (
    block,
    command,
    integer,
    key,
    keys_after,
    keys_at,
    keys_unknown,
    many,
    many_tokens,
    marked,
    oneof,
    opt,
    pattern,
    string,
    token,
)
from cluster.catalog.model import (
    ACCESS,
    ACL_DANGEROUS,
    ACL_KEYSPACE,
    ACL_LIST,
    ACL_SET,
    ACL_SORTEDSET,
    ASKING,
    DELETE,
    DENYOOM,
    INCOMPLETE,
    OW,
    READONLY,
    RO,
    RW,
    UPDATE,
    WRITE,
    Command,
)

_SORT_COST = (
    "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned "
    "elements. When the elements are not sorted, complexity is O(N)."
)
_OTHER_KEYS = keys_unknown(
    RO | ACCESS,
    notes="For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of "
    "the key we sort",
)
_SORT_ARGS = [
    key(),
    opt(marked(pattern("by-pattern", word="BY", show="pattern"), 1)),
    opt(block("limit", integer("offset"), integer("count"), word="LIMIT")),
    opt(many_tokens(marked(pattern("get-pattern", word="GET", show="pattern"), 1))),
    opt(oneof("order", token("ASC"), token("DESC"))),
    opt(token("ALPHA", name="sorting")),
]

ROWS: list[Command] = [
    command("sort", -2, WRITE | DENYOOM, "generic", "1.0.0", _SORT_COST,
        "Order the elements of a list, set or sorted set, and read or store the result.",
        acl=ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS,
        keys=[
            keys_at(1, RO | ACCESS), _OTHER_KEYS,
            keys_unknown(
                OW | UPDATE,
                notes="For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere "
                "in the argument array",
            ),
        ],
        args=[*_SORT_ARGS, opt(key("destination", 2, word="STORE"))]),
    command("sort_ro", -2, READONLY, "generic", "7.0.0", _SORT_COST,
        "Read the elements of a list, set or sorted set in another order.",
        acl=ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS,
        keys=[keys_at(1, RO | ACCESS), _OTHER_KEYS], args=[*_SORT_ARGS]),
    command("migrate", -6, WRITE, "generic", "2.6.0",
        "This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target instance. See "
        "the pages of these commands for time complexity. Also an O(N) data transfer between the two instances is "
        "performed.",
        "Move keys to another server.",
        acl=ACL_KEYSPACE | ACL_DANGEROUS,
        keys=[
            keys_at(3, RW | ACCESS | DELETE),
            keys_after("KEYS", -2, RW | ACCESS | DELETE | INCOMPLETE, last=-1),
        ],
        tips="nondeterministic_output",
        history=[
            ("3.0.0", "Added the `COPY` and `REPLACE` options."), ("3.0.6", "Added the `KEYS` option."),
            ("4.0.7", "Added the `AUTH` option."), ("6.0.0", "Added the `AUTH2` option."),
        ],
        args=[
            string("host"), integer("port"), oneof("key-selector", key(), token("", name="empty-string")),
            integer("destination-db"), integer("timeout"), opt(token("COPY", since="3.0.0")),
            opt(token("REPLACE", since="3.0.0")),
            opt(oneof("authentication",
                string("auth", word="AUTH", since="4.0.7", show="password"),
                block("auth2", string("username"), string("password"), word="AUTH2", since="6.0.0"))),
            opt(many(key("keys", 1, word="KEYS", since="3.0.6", show="key"))),
        ]),
    command("restore-asking", -4, WRITE | DENYOOM | ASKING, "server", "3.0.0",
        "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number "
        "of objects composing the value and M their average size. For small string values the time complexity is thus "
        "O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) "
        "because inserting values into sorted sets is O(log(N)).",
        "Create a key from a serialised value in a slot that is being imported.",
        acl=ACL_KEYSPACE | ACL_DANGEROUS, keys=[keys_at(1, OW | UPDATE)],
        history=[
            ("3.0.0", "Added the `REPLACE` modifier."), ("5.0.0", "Added the `ABSTTL` modifier."),
            ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
        ],
        doc_flags="syscmd",
        args=[
            key(), integer("ttl"), string("serialized-value"), opt(token("REPLACE", since="3.0.0")),
            opt(token("ABSTTL", since="5.0.0")), opt(integer("seconds", word="IDLETIME", since="5.0.0")),
            opt(integer("frequency", word="FREQ", since="5.0.0")),
        ]),
]
