"""Rows: bitmaps."""

from cluster.catalog.build import (
    block,
    command,
    integer,
    key,
    keys_at,
    many,
    many_tokens,
    oneof,
    opt,
    string,
    token,
)
from cluster.catalog.model import (
    ACCESS,
    ACL_BITMAP,
    DENYOOM,
    FAST,
    OW,
    READONLY,
    RO,
    RW,
    UPDATE,
    VARIABLE_FLAGS,
    WRITE,
    Command,
)

_RANGE = opt(block(
    "range", integer("start"),
    opt(block(
        "end-unit-block", integer("end"), opt(oneof("unit", token("BYTE"), token("BIT"), since="7.0.0")),
    )),
))  # fmt: skip

ROWS: list[Command] = [
    command("setbit", 4, WRITE | DENYOOM, "bitmap", "2.2.0", "O(1)",
        "Set or clear one bit of a string, which grows as needed; return what it was.",
        acl=ACL_BITMAP,
        keys=[keys_at(1, RW | ACCESS | UPDATE)],
        args=[key(), integer("offset"), integer("value")]),
    command("getbit", 3, READONLY | FAST, "bitmap", "2.2.0", "O(1)",
        "Read one bit of a string.",
        acl=ACL_BITMAP,
        keys=[keys_at(1, RO | ACCESS)],
        args=[key(), integer("offset")]),
    command("bitcount", -2, READONLY, "bitmap", "2.6.0", "O(N)",
        "Count the bits that are set in a string or in a part of it.",
        acl=ACL_BITMAP,
        keys=[keys_at(1, RO | ACCESS)],
        history=[
            ("7.0.0", "Added the `BYTE|BIT` option."),
            ("8.0.0", "`end` made optional; when called without argument the command reports the last BYTE."),
        ],
        args=[
            key(),
            _RANGE,
        ]),
    command("bitpos", -3, READONLY, "bitmap", "2.8.7", "O(N)",
        "Find the first bit of a string that is set, or that is clear.",
        acl=ACL_BITMAP,
        keys=[keys_at(1, RO | ACCESS)],
        history=[("7.0.0", "Added the `BYTE|BIT` option.")],
        args=[
            key(),
            integer("bit"),
            _RANGE,
        ]),
    command("bitop", -4, WRITE | DENYOOM, "bitmap", "2.6.0", "O(N)",
        "Combine strings bit by bit and store the result.",
        acl=ACL_BITMAP,
        keys=[keys_at(2, OW | UPDATE), keys_at(3, RO | ACCESS, last=-1)],
        args=[
            oneof("operation", token("AND"), token("OR"), token("XOR"), token("NOT")),
            key("destkey", 0),
            many(key("key", 1)),
        ]),
    command("bitfield", -2, WRITE | DENYOOM, "bitmap", "3.2.0", "O(1) for each subcommand specified",
        "Read, write and count in integers of any width inside a string.",
        acl=ACL_BITMAP,
        keys=[
            keys_at(
                1, RW | ACCESS | UPDATE | VARIABLE_FLAGS,
                notes="This command allows both access and modification of the key",
            ),
        ],
        args=[
            key(),
            opt(many(oneof(
                "operation", block("get-block", string("encoding"), integer("offset"), word="GET"),
                block(
                    "write",
                    opt(oneof("overflow-block", token("WRAP"), token("SAT"), token("FAIL"), word="OVERFLOW")),
                    oneof(
                        "write-operation",
                        block("set-block", string("encoding"), integer("offset"), integer("value"), word="SET"),
                        block(
                            "incrby-block", string("encoding"), integer("offset"), integer("increment"), word="INCRBY",
                        ),
                    ),
                ),
            ))),
        ]),
    command("bitfield_ro", -2, READONLY | FAST, "bitmap", "6.0.0", "O(1) for each subcommand specified",
        "Read integers of any width inside a string.",
        acl=ACL_BITMAP,
        keys=[keys_at(1, RO | ACCESS)],
        args=[key(), opt(many_tokens(block("get-block", string("encoding"), integer("offset"), word="GET")))]),
]
