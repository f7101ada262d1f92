"""Rows: sorted sets: ranges, ranks and set algebra."""

from cluster.catalog.build import (
    block,
    command,
    double,
    integer,
    key,
    keys_at,
    keys_counted_at,
    many,
    oneof,
    opt,
    string,
    token,
)
from cluster.catalog.model import (
    ACCESS,
    ACL_SORTEDSET,
    DELETE,
    DENYOOM,
    FAST,
    OW,
    READONLY,
    RO,
    RW,
    UPDATE,
    WRITE,
    Command,
)

ROWS: list[Command] = [
    command("zcount", 4, READONLY | FAST, "sorted-set", "2.0.0",
        "O(log(N)) with N being the number of elements in the sorted set.",
        "Count the members whose scores lie in a range.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)], args=[key(), double("min"), double("max")]),
    command("zdiff", -3, READONLY, "sorted-set", "6.2.0",
        "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of "
        "the first set, and K is the size of the result set.",
        "List the members of the first sorted set that are in none of the others.",
        acl=ACL_SORTEDSET, keys=[keys_counted_at(1, RO | ACCESS)],
        args=[integer("numkeys"), many(key()), opt(token("WITHSCORES"))]),
    command("zdiffstore", -4, WRITE | DENYOOM, "sorted-set", "6.2.0",
        "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of "
        "the first set, and K is the size of the result set.",
        "Store the members of the first sorted set that are in none of the others.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, OW | UPDATE), keys_counted_at(2, RO | ACCESS)],
        args=[key("destination"), integer("numkeys"), many(key("key", 1))]),
    command("zinter", -3, READONLY, "sorted-set", "6.2.0",
        "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input "
        "sorted sets and M being the number of elements in the resulting sorted set.",
        "List the members that all sorted sets have in common.",
        acl=ACL_SORTEDSET, keys=[keys_counted_at(1, RO | ACCESS)],
        args=[
            integer("numkeys"), many(key()), opt(many(integer("weight", "WEIGHTS"))),
            opt(oneof("aggregate", token("SUM"), token("MIN"), token("MAX"), word="AGGREGATE")),
            opt(token("WITHSCORES")),
        ]),
    command("zintercard", -3, READONLY, "sorted-set", "7.0.0",
        "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
        "Count the members that all sorted sets have in common.",
        acl=ACL_SORTEDSET, keys=[keys_counted_at(1, RO | ACCESS)],
        args=[integer("numkeys"), many(key()), opt(integer("limit", "LIMIT"))]),
    command("zinterstore", -4, WRITE | DENYOOM, "sorted-set", "2.0.0",
        "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input "
        "sorted sets and M being the number of elements in the resulting sorted set.",
        "Store the members that all sorted sets have in common.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, OW | UPDATE), keys_counted_at(2, RO | ACCESS)],
        args=[
            key("destination"), integer("numkeys"), many(key("key", 1)), opt(many(integer("weight", "WEIGHTS"))),
            opt(oneof("aggregate", token("SUM"), token("MIN"), token("MAX"), word="AGGREGATE")),
        ]),
    command("zlexcount", 4, READONLY | FAST, "sorted-set", "2.8.9",
        "O(log(N)) with N being the number of elements in the sorted set.",
        "Count the members that lie in a range of byte order.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)], args=[key(), string("min"), string("max")]),
    command("zrange", -4, READONLY, "sorted-set", "1.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
        "List members by rank, by score or by byte order.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)],
        history=[("6.2.0", "Added the `REV`, `BYSCORE`, `BYLEX` and `LIMIT` options.")],
        args=[
            key(), string("start"), string("stop"),
            opt(oneof("sortby", token("BYSCORE"), token("BYLEX"), since="6.2.0")), opt(token("REV", "6.2.0")),
            opt(block("limit", integer("offset"), integer("count"), word="LIMIT", since="6.2.0")),
            opt(token("WITHSCORES")),
        ]),
    command("zrangebylex", -4, READONLY, "sorted-set", "2.8.9",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being "
        "returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider "
        "it O(log(N)).",
        "List the members that lie in a range of byte order.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)],
        args=[
            key(), string("min"), string("max"),
            opt(block("limit", integer("offset"), integer("count"), word="LIMIT")),
        ]),
    command("zrangebyscore", -4, READONLY, "sorted-set", "1.0.5",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being "
        "returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider "
        "it O(log(N)).",
        "List the members whose scores lie in a range.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)], history=[("2.0.0", "Added the `WITHSCORES` modifier.")],
        args=[
            key(), double("min"), double("max"), opt(token("WITHSCORES", "2.0.0")),
            opt(block("limit", integer("offset"), integer("count"), word="LIMIT")),
        ]),
    command("zrangestore", -5, WRITE | DENYOOM, "sorted-set", "6.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored "
        "into the destination key.",
        "Store members by rank, by score or by byte order under another key.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, OW | UPDATE), keys_at(2, RO | ACCESS)],
        args=[
            key("dst"), key("src", 1), string("min"), string("max"),
            opt(oneof("sortby", token("BYSCORE"), token("BYLEX"))), opt(token("REV")),
            opt(block("limit", integer("offset"), integer("count"), word="LIMIT")),
        ]),
    command("zrank", -3, READONLY | FAST, "sorted-set", "2.0.0", "O(log(N))",
        "Tell the rank of a member, lowest score first.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)],
        history=[("7.2.0", "Added the optional `WITHSCORE` argument.")],
        args=[key(), string("member"), opt(token("WITHSCORE"))]),
    command("zremrangebylex", 4, WRITE, "sorted-set", "2.8.9",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed "
        "by the operation.",
        "Remove the members that lie in a range of byte order.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RW | DELETE)], args=[key(), string("min"), string("max")]),
    command("zremrangebyrank", 4, WRITE, "sorted-set", "2.0.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed "
        "by the operation.",
        "Remove the members in a range of ranks.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RW | DELETE)], args=[key(), integer("start"), integer("stop")]),
    command("zremrangebyscore", 4, WRITE, "sorted-set", "1.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed "
        "by the operation.",
        "Remove the members whose scores lie in a range.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RW | DELETE)], args=[key(), double("min"), double("max")]),
    command("zrevrange", -4, READONLY, "sorted-set", "1.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
        "List members by rank, highest score first.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)],
        args=[key(), integer("start"), integer("stop"), opt(token("WITHSCORES"))]),
    command("zrevrangebylex", -4, READONLY, "sorted-set", "2.8.9",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being "
        "returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider "
        "it O(log(N)).",
        "List the members that lie in a range of byte order, last first.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)],
        args=[
            key(), string("max"), string("min"),
            opt(block("limit", integer("offset"), integer("count"), word="LIMIT")),
        ]),
    command("zrevrangebyscore", -4, READONLY, "sorted-set", "2.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being "
        "returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider "
        "it O(log(N)).",
        "List the members whose scores lie in a range, highest first.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)], history=[("2.1.6", "`min` and `max` can be exclusive.")],
        args=[
            key(), double("max"), double("min"), opt(token("WITHSCORES")),
            opt(block("limit", integer("offset"), integer("count"), word="LIMIT")),
        ]),
    command("zrevrank", -3, READONLY | FAST, "sorted-set", "2.0.0", "O(log(N))",
        "Tell the rank of a member, highest score first.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, RO | ACCESS)],
        history=[("7.2.0", "Added the optional `WITHSCORE` argument.")],
        args=[key(), string("member"), opt(token("WITHSCORE"))]),
    command("zunion", -3, READONLY, "sorted-set", "6.2.0",
        "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of "
        "elements in the resulting sorted set.",
        "List the members that any of the sorted sets has.",
        acl=ACL_SORTEDSET, keys=[keys_counted_at(1, RO | ACCESS)],
        args=[
            integer("numkeys"), many(key()), opt(many(integer("weight", "WEIGHTS"))),
            opt(oneof("aggregate", token("SUM"), token("MIN"), token("MAX"), word="AGGREGATE")),
            opt(token("WITHSCORES")),
        ]),
    command("zunionstore", -4, WRITE | DENYOOM, "sorted-set", "2.0.0",
        "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of "
        "elements in the resulting sorted set.",
        "Store the members that any of the sorted sets has.",
        acl=ACL_SORTEDSET, keys=[keys_at(1, OW | UPDATE), keys_counted_at(2, RO | ACCESS)],
        args=[
            key("destination"), integer("numkeys"), many(key("key", 1)), opt(many(integer("weight", "WEIGHTS"))),
            opt(oneof("aggregate", token("SUM"), token("MIN"), token("MAX"), word="AGGREGATE")),
        ]),
]
