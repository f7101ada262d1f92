"""A node in import mode against genuine Valkey: its source still sees the keys whose time is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.twins import Twins, start_twins

LINES = """\
client import-source on
set a 1
restore b 1500000000000 "\\x00\\xc0\\x01\\x0b\\x00O\\xa7Z\\xc5,\\x9e\\xf8u" absttl
exists b
set c 1 pxat 1500000000000
incr c
pexpiretime c
setex e 100 1
pexpireat a 1500000000000
exists a
pexpireat a 4000000000000
pexpiretime a
getex e pxat 1500000000000
exists e
hset h f 1 g 2
hpexpireat h 1500000000000 fields 1 f
hexists h f
hsetex h pxat 1500000000000 fields 1 z 1
hgetex h pxat 1500000000000 fields 1 g
hlen h
copy c d
pexpiretime d
rename c f
exists f
sadd s 1 2
expireat s 1500000000
sadd s 3
scard s
dbsize
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair in import mode."""
    with start_twins(tmp_path_factory.mktemp("import"), "--import-mode", "yes") as twins:
        yield twins
        twins.hang_up()


def test_nothing_expires_for_the_source_of_an_import(servers: Twins) -> None:
    """Times that lie in the past are kept and can be moved; another client doesn't see those keys, and drops none."""
    source, other = servers.client(), servers.client()
    source.same("flushall")
    for line in LINES.splitlines():
        source.same(line)
    for line in ("exists b", "get f", "scard s", "ttl e", "get a", "hlen h", "dbsize"):
        other.same(line)
    source.same("incr f")
    other.same("client import-source off")
    source.same("config set import-mode no")
    for line in ("exists b", "exists f", "exists s", "get a"):
        source.same(line)
    source.same("config set import-mode yes")
