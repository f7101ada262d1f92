"""Blueprints: what they declare, and how each mistake is told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import plans
from cluster.blueprint import Allowed, BlueprintError, default_blueprint, parse, read, with_ports

RENDER = b"""\
services:
- type: keyvalue
  name: cache
  plan: starter
  region: oregon
  maxmemoryPolicy: allkeys-lru
  ipAllowList: []
"""

FULL = b"""\
sentinels: 5
services:
  - type: keyvalue
    name: jobs
    plan: custom
    maxmemory: 2gb
    maxclients: 4000
    region: frankfurt
    maxmemoryPolicy: noeviction
    shards: 4
    replicas: 2
    port: 7379
    externalPort: 7380
    ipAllowList:
      - source: 203.0.113.0/24
        description: office
      - {source: "2001:db8::1", description: "  the\\n laptop "}
      - source: 198.51.100.7
"""


def wrong(text: str) -> list[str]:
    """The messages about a blueprint that must not be accepted."""
    with pytest.raises(BlueprintError) as caught:
        parse(text.encode(), "b.yaml")
    return str(caught.value).splitlines()


def service(*lines: str) -> str:
    """A blueprint of one sound service with these lines added."""
    return "".join(f"{line}\n" for line in ("services:", "- type: keyvalue", "  name: a", "  ipAllowList: []", *lines))


def test_the_example_of_render() -> None:
    """A blueprint as Render's users have it is taken as it is, with its defaults."""
    (one,) = parse(RENDER, "render.yaml").services

    assert (one.name, one.plan, one.policy, one.region, one.allow) == (
        "cache",
        plans.LADDER["starter"],
        "allkeys-lru",
        "oregon",
        (),
    )
    assert (one.shards, one.replicas, one.port, one.external_port) == (1, 1, None, None)


def test_every_field() -> None:
    """Each field arrives, networks in CIDR form, descriptions on one line."""
    found = parse(FULL, "b.yaml")

    (one,) = found.services
    assert found.sentinels == 5
    assert (one.name, one.plan.memory, one.plan.clients, one.policy) == ("jobs", 2 << 30, 4000, "noeviction")
    assert (one.region, one.shards, one.replicas, one.port, one.external_port) == ("frankfurt", 4, 2, 7379, 7380)
    assert one.allow == (
        Allowed("203.0.113.0/24", "office"),
        Allowed("2001:db8::1/128", "the laptop"),
        Allowed("198.51.100.7/32", ""),
    )


def test_the_default_blueprint() -> None:
    """Without a file: three shards with a replica each, three sentinels, open to this machine alone."""
    found = default_blueprint()

    (one,) = found.services
    assert (found.sentinels, one.shards, one.replicas) == (3, 3, 1)
    assert [allowed.source for allowed in one.allow] == ["127.0.0.1/32", "::1/128"]


def test_a_free_service_has_no_replica_unless_asked() -> None:
    """The free plan promises no failover."""
    assert parse(service("  plan: free").encode(), "b").services[0].replicas == 0
    assert parse(service("  plan: free", "  replicas: 1").encode(), "b").services[0].replicas == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "  plan: startr",
            "b.yaml:5:9: services[0].plan: 'startr' is no plan (did you mean 'starter'?); one of free, ",
        ),
        ("  plan: [a]", "b.yaml:5:9: services[0].plan: a text expected, not a list"),
        ("  plan:", "b.yaml:5:7: services[0].plan: a text expected, not nothing"),
        ("  plan: custom", "b.yaml:2:3: services[0].maxmemory: missing; 'plan: custom' needs it, such as"),
        ("  maxclients: 5", "b.yaml:5:3: services[0].maxclients: the plan 'starter' sets it; write 'plan: custom'"),
        ("  maxmemoryPolicy: allkeys_lru", "b.yaml:5:20: services[0].maxmemoryPolicy: 'allkeys_lru' is no eviction "),
        ("  shards: 0", "b.yaml:5:11: services[0].shards: 0 is out of range; from 1 to 128"),
        ("  shards: many", "b.yaml:5:11: services[0].shards: a whole number from 1 to 128 expected, not 'many'"),
        ("  replicas: -1", "b.yaml:5:13: services[0].replicas: a whole number from 0 to 5 expected, not '-1'"),
        ("  port: 65536", "b.yaml:5:9: services[0].port: 65536 is out of range; from 1 to 65535"),
        ("  shard: 3", "b.yaml:5:3: services[0].shard: unknown field (did you mean 'shards'?); known are type, name, "),
        ("  previews: {plan: free}", "b.yaml:5:3: services[0].previews: a key-value service has no 'previews'; write"),
        ("  name: b", "b.yaml:5:3: services[0].name: given twice, first in line 3"),
    ],
)
def test_a_mistake_in_a_field(lines: str, message: str) -> None:
    """Line, column, field and what would be right are told."""
    assert wrong(service(lines))[0].startswith(message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("203.0.113.5/24", "'203.0.113.5/24' has bits set beyond its mask; the network is 203.0.113.0/24"),
        ("office", "'office' is no address or network; write it as 203.0.113.5 or 203.0.113.0/24"),
        ("1.2.3.4/33", "'1.2.3.4/33' is no address or network; write it as 203.0.113.5 or 203.0.113.0/24"),
    ],
)
def test_a_mistake_in_the_allowlist(source: str, message: str) -> None:
    """A source must be an address or a network."""
    text = f"services:\n- type: keyvalue\n  name: a\n  ipAllowList:\n  - source: {source}\n"

    assert wrong(text) == [f"b.yaml:5:13: services[0].ipAllowList[0].source: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "b.yaml:1:1: the file is empty; it needs a list 'services:'"),
        ("a: [", "b.yaml:1:5: no valid YAML: expected the node content, but found '<stream end>'"),
        ("- a", "b.yaml:1:1: fields expected ('name: value'), not a list"),
        ("services: 3", "b.yaml:1:11: services: a list expected, not '3'"),
        ("services: []", "b.yaml:1:11: services: no key-value service among them; add an item of 'type: keyvalue'"),
        ("service: []", "b.yaml:1:1: service: unknown section (did you mean 'services'?); known are services and "),
        ("services:\n- name: a", "b.yaml:2:3: services[0].type: missing; write 'type: keyvalue'"),
        ("services:\n- type: keyvalu", "b.yaml:2:9: services[0].type: 'keyvalu' is no type of service (did you mean "),
        ("services: &a [*a]", "b.yaml:1:11: services[0]: fields expected ('name: value'), not a list"),
    ],
)
def test_a_mistake_in_the_form(text: str, message: str) -> None:
    """A file that is no blueprint at all is told so at the right place."""
    assert wrong(text)[0].startswith(message)


def test_missing_fields_are_told_together() -> None:
    """Name and allowlist are required, and the words for the latter are those that users know."""
    found = wrong("services:\n- type: keyvalue\n")

    assert found == [
        "b.yaml:2:3: services[0].name: missing; each service needs a name of its own, such as 'cache'",
        "b.yaml:2:3: services[0].ipAllowList: The `ipAllowList` field is required for Key Value instances. "
        "Write 'ipAllowList: []' to allow internal access alone",
    ]


def test_all_mistakes_are_told_in_the_order_of_the_file() -> None:
    """One run of the editor mends all of them."""
    found = wrong(service("  plan: x", "  shards: y") + service("  port: z").partition("\n")[2])

    assert [line.split(": ")[0] for line in found] == ["b.yaml:5:9", "b.yaml:6:11", "b.yaml:8:9", "b.yaml:10:9"]
    assert "'a' is taken by the service in line 3" in found[2]


def test_two_endpoints_on_one_port() -> None:
    """A port that is given twice is found over all services."""
    found = wrong(service("  port: 7000", "  externalPort: 7000"))

    assert found == [
        "b.yaml:6:17: services[0].externalPort: 7000 is taken by line 5; each endpoint needs a port of its own"
    ]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("{name: a, type: keyvalue, property: url}", "fromService.property: 'url' is no property of a key-value"),
        ("{name: b, type: keyvalue, property: host}", "fromService.name: no key-value service of this name here; "),
        ("{name: a, property: host}", "fromService.type: missing; write 'type: keyvalue'"),
        ("{type: keyvalue, property: host}", "fromService.name: no key-value service of this name here; declared: a"),
    ],
)
def test_a_reference_to_our_service_is_checked(reference: str, message: str) -> None:
    """Other services are not ours, but what they take from ours must be there."""
    other = f"- type: web\n  name: app\n  envVars:\n  - {{key: R, fromService: {reference}}}\n"

    assert message in wrong(service() + other)[0]


def test_services_of_others_are_left_alone_with_a_remark() -> None:
    """A whole Render blueprint is usable; what is passed over is named."""
    other = (
        "- type: web\n  name: app\n  runtime: node\n  envVars:\n"
        "  - {key: R, fromService: {name: a, type: keyvalue, property: connectionString}}\ndatabases: []\n"
    )
    found = parse((service() + other).encode(), "b.yaml")

    assert [one.name for one in found.services] == ["a"]
    assert sorted(str(warning) for warning in found.warnings) == [
        "b.yaml:10:1: databases: left alone: this section holds nothing for Kvorum",
        "b.yaml:5:9: services[1].type: left alone: Kvorum runs services of type 'keyvalue', not 'web'",
    ]


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (("type: keyvalue", "type: redis"), "'redis' is the old name of this type; write 'type: keyvalue'"),
        (("region: oregon", "region: moon"), "'moon' is none of the known regions"),
        (("region: oregon", "previewPlan: free"), "without effect"),
        (("services:", "sentinels: 4\nservices:"), "4 sentinels survive no more failures than 3"),
    ],
)
def test_remarks(change: tuple[str, str], warning: str) -> None:
    """What is odd but usable gives a remark."""
    found = parse(RENDER.decode().replace(*change).encode(), "b.yaml")

    assert [warning in str(one) for one in found.warnings] == [True]


def test_bounds() -> None:
    """Size, depth, encoding and counts are bounded before anything is built from them."""
    assert wrong("#" * (256 << 10) + "\n") == ["b.yaml:1:1: the file is larger than 256 KB"]
    assert wrong("[" * 20_000) == ["b.yaml:1:1: the values are nested too deeply"]
    assert "at most 64 entries, not 65" in wrong("services:\n" + "- {type: keyvalue, name: a}\n" * 65)[0]
    with pytest.raises(BlueprintError, match=r"b:2:3: this is not UTF-8 text"):
        parse(b"a:\n  \xff", "b")
    assert len(wrong(service(*(f"  wrong{i}: 1" for i in range(200))))) == 50


def test_reading_a_file(tmp_path: Path) -> None:
    """Messages name the file as it was given."""
    path = tmp_path / "kvorum.yaml"
    path.write_bytes(RENDER)
    assert read(path) == parse(RENDER, str(path))
    path.write_text("x: 1")

    with pytest.raises(BlueprintError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:1:1: ")


def test_ports_of_the_command_line() -> None:
    """They change the only service; with several the blueprint has to say."""
    one = parse(RENDER, "b")
    two = parse(RENDER + RENDER.replace(b"services:\n", b"").replace(b"cache", b"jobs"), "b")

    assert with_ports(one, 7000, None).services[0].port == 7000
    assert with_ports(one, None, 7001).services[0].external_port == 7001
    assert with_ports(two, None, None) is two
    with pytest.raises(ValueError, match=r"several \(cache, jobs\)"):
        with_ports(two, 7000, None)


@given(st.text(alphabet="abc:-[]{}&*!|>'\"%@`#,? \n\tservicetypname0", max_size=200))
def test_any_text_is_a_blueprint_or_has_problems(text: str) -> None:
    """Whatever the file holds, the answer is a blueprint or a list of mistakes, never another error."""
    found: object = None
    with contextlib.suppress(BlueprintError):
        found = parse(text.encode(), "b")

    assert found is None or found.services
