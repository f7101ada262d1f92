"""Rows: HyperLogLog."""

from cluster.catalog.build import (
    command,
    key,
    keys_at,
    many,
    opt,
    string,
)
from cluster.catalog.model import (
    ACCESS,
    ACL_HYPERLOGLOG,
    ADMIN,
    DENYOOM,
    FAST,
    INSERT,
    READONLY,
    RO,
    RW,
    WRITE,
    Command,
)

ROWS: list[Command] = [
    command("pfadd", -2, WRITE | DENYOOM | FAST, "hyperloglog", "2.8.9", "O(1) to add every element.",
        "Count elements in a HyperLogLog, which is created when missing.",
        acl=ACL_HYPERLOGLOG,
        keys=[keys_at(1, RW | INSERT)],
        args=[key(), opt(many(string("element")))]),
    command("pfcount", -2, READONLY, "hyperloglog", "2.8.9",
        "O(1) with a very small average constant time when called with a single key. O(N) with N being the "
        "number of keys, and much bigger constant times, when called with multiple keys.",
        "Estimate how many different elements one or several HyperLogLogs have counted.",
        acl=ACL_HYPERLOGLOG,
        keys=[
            keys_at(
                1, RW | ACCESS, last=-1,
                notes="RW because it may change the internal representation of the key, and propagate to replicas",
            ),
        ],
        args=[many(key())]),
    command("pfmerge", -2, WRITE | DENYOOM, "hyperloglog", "2.8.9",
        "O(N) to merge N HyperLogLogs, but with high constant times.",
        "Unite HyperLogLogs into one.",
        acl=ACL_HYPERLOGLOG,
        keys=[keys_at(1, RW | ACCESS | INSERT), keys_at(2, RO | ACCESS, last=-1)],
        args=[key("destkey", 0), opt(many(key("sourcekey", 1)))]),
    command("pfdebug", 3, WRITE | DENYOOM | ADMIN, "hyperloglog", "2.8.9", "N/A",
        "Look inside a HyperLogLog.",
        acl=ACL_HYPERLOGLOG,
        keys=[keys_at(2, RW | ACCESS)],
        doc_flags="syscmd",
        args=[string("subcommand"), key()]),
    command("pfselftest", 1, ADMIN, "hyperloglog", "2.8.9", "N/A",
        "Check packing and accuracy of HyperLogLogs.",
        acl=ACL_HYPERLOGLOG,
        doc_flags="syscmd"),
]
