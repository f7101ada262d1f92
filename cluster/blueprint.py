"""Blueprints: the YAML file that declares services, read with the position of every mistake.

The form is that of a Render blueprint: a list `services` whose items of `type: keyvalue` are ours. Fields known from
there: `name plan region maxmemoryPolicy ipAllowList`, and from its API `persistenceMode`. Fields of Kvorum: `shards
replicas port externalPort`, `maxmemory` and `maxclients` for `plan: custom`, and `sentinels` at the top. Services of
other types are left to others; only their references to our services are checked. All mistakes of a file are reported
at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cluster import plans
from cluster.options import memory
from cluster.persistence import MODES, OFF, OTHER_NAMES, Mode
from cluster.positions import (
    INTEGER,
    MAX_BYTES,
    MAX_PROBLEMS,
    Fields,
    Problem,
    ProblemError,
    Reader,
    compose,
    line_of,
    meant,
    short,
)

MAX_SERVICES: Final = 64
MAX_SHARDS: Final = 128
MAX_REPLICAS: Final = 5
MAX_SENTINELS: Final = 9
MAX_ALLOW: Final = 1_000
MIN_MEMORY: Final = 1 << 20
MAX_MEMORY: Final = 1 << 50

POLICIES: Final = (
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
)
REGIONS: Final = ("oregon", "ohio", "virginia", "frankfurt", "singapore")
PROPERTIES: Final = ("connectionString", "host", "port", "hostport")
OTHER_TYPES: Final = ("web", "worker", "pserv", "cron", "static", "job")
OTHER_SECTIONS: Final = ("databases", "envVarGroups", "previews", "projects", "ungrouped", "version")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class BlueprintError(ValueError):
    """A blueprint that cannot be used; `problems` names every mistake in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of the allowlist of the external endpoint: a network in CIDR form and what it is."""

    source: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One declared key-value service. A port that is None is chosen by the agent; persistence, by the plan."""

    name: str
    allow: tuple[Allowed, ...]
    plan: plans.Plan = plans.LADDER[plans.DEFAULT]
    region: str = REGIONS[0]
    policy: str = "allkeys-lru"
    shards: int = 1
    replicas: int = 1
    port: int | None = None
    external_port: int | None = None
    persistence: Mode | None = None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that a file declares, and the remarks that do not keep it from being used."""

    services: tuple[Service, ...]
    sentinels: int = 3
    warnings: tuple[Problem, ...] = field(default=(), compare=False)


THIS_MACHINE: Final = (Allowed("127.0.0.1/32", "this machine"), Allowed("::1/128", "this machine"))


def default_blueprint() -> Blueprint:
    """What runs without a file: one service of three shards with a replica each, open from this machine alone."""
    return Blueprint((Service("cache", THIS_MACHINE, plans.LADDER["standard"], shards=3),))


def with_ports(blueprint: Blueprint, port: int | None, external_port: int | None) -> Blueprint:
    """The blueprint with the ports of its only service changed; raises ValueError when it declares several."""
    if port is None and external_port is None:
        return blueprint
    if len(blueprint.services) != 1:
        names = ", ".join(service.name for service in blueprint.services)
        raise ValueError(
            f"a port on the command line needs one service, but there are several ({names}): "
            "write 'port:' and 'externalPort:' into the blueprint"
        )
    service = blueprint.services[0]
    changed = replace(service, port=port or service.port, external_port=external_port or service.external_port)
    return replace(blueprint, services=(changed,))


def read(path: Path) -> Blueprint:
    """Read a file; raises BlueprintError for its mistakes and OSError when it cannot be read."""
    with path.open("rb") as file:
        return parse(file.read(MAX_BYTES + 1), str(path))


def parse(data: bytes, file: str) -> Blueprint:
    """Read a blueprint from bytes; `file` is the name that messages give. Raises BlueprintError."""
    reader = Reader(file)
    try:
        root = compose(data, file)
    except ProblemError as error:
        raise BlueprintError([error.problem]) from error
    blueprint = _blueprint(reader, root)
    if reader.problems or blueprint is None:
        raise BlueprintError(sorted(reader.problems, key=lambda p: (p.line, p.column))[:MAX_PROBLEMS])
    return replace(blueprint, warnings=tuple(reader.warnings))


def _blueprint(reader: Reader, root: Node) -> Blueprint | None:
    top = reader.mapping(root, "")
    if top is None:
        return None
    sentinels = 3
    for name, (key, value) in top.items():
        if name == "sentinels":
            sentinels = reader.number(value, name, 1, MAX_SENTINELS) or 3
            if sentinels % 2 == 0:
                reader.warn(value, name, f"{sentinels} sentinels survive no more failures than {sentinels - 1}")
        elif name in OTHER_SECTIONS:
            reader.warn(key, name, "left alone: this section holds nothing for Kvorum")
        elif name != "services":
            reader.wrong(
                key, name, f"unknown section{meant(name, ('services', 'sentinels'))}; known are services and sentinels"
            )
    if "services" not in top:
        reader.wrong(root, "services", "missing; a list with one item of 'type: keyvalue' for each service")
        return None
    services = _services(reader, top["services"][1])
    return Blueprint(tuple(services), sentinels)


def _services(reader: Reader, node: Node) -> list[Service]:
    items = reader.sequence(node, "services", MAX_SERVICES) or []
    services: list[Service] = []
    declared: dict[str, Node] = {}
    others: list[tuple[str, Fields]] = []
    for index, item in enumerate(items):
        where = f"services[{index}]"
        fields = reader.mapping(item, where)
        if fields is None:
            continue
        if not _is_ours(reader, item, fields, where):
            others.append((where, fields))
            continue
        if isinstance(named := fields.get("name", (item, item))[1], ScalarNode):
            if named.value in declared:
                reader.wrong(
                    named,
                    f"{where}.name",
                    f"'{short(named.value)}' is taken by the service in line "
                    f"{line_of(declared[named.value])}; choose another",
                )
            declared.setdefault(str(named.value), named)
        if (service := _service(reader, item, fields, where)) is not None:
            services.append(service)
    if isinstance(node, SequenceNode) and not declared and not reader.problems:
        reader.wrong(node, "services", "no key-value service among them; add an item of 'type: keyvalue'")
    _check_ports(reader, items)
    for where, fields in others:
        _check_references(reader, fields, where, declared)
    return services


def _is_ours(reader: Reader, item: Node, fields: Fields, where: str) -> bool:
    if "type" not in fields:
        reader.wrong(item, f"{where}.type", "missing; write 'type: keyvalue'")
        return False
    node = fields["type"][1]
    kind = reader.choice(node, f"{where}.type", ("keyvalue", "redis", *OTHER_TYPES), "type of service")
    if kind == "redis":
        reader.warn(node, f"{where}.type", "'redis' is the old name of this type; write 'type: keyvalue'")
    elif kind in OTHER_TYPES:
        reader.warn(node, f"{where}.type", f"left alone: Kvorum runs services of type 'keyvalue', not '{kind}'")
    return kind in ("keyvalue", "redis")


def _service(reader: Reader, item: Node, fields: Fields, where: str) -> Service | None:
    known: dict[str, Any] = {}
    for name, (key, value) in fields.items():
        take = _FIELDS.get(name)
        if take is not None:
            known[name] = take(reader, value, f"{where}.{name}")
        elif name == "previews":
            reader.wrong(key, f"{where}.{name}", "a key-value service has no 'previews'; write 'previewPlan'")
        elif name != "type":
            reader.wrong(
                key,
                f"{where}.{name}",
                f"unknown field{meant(name, tuple(_FIELDS))}; known are type, {', '.join(_FIELDS)}",
            )
    if "name" not in fields:
        reader.wrong(item, f"{where}.name", "missing; each service needs a name of its own, such as 'cache'")
    if "ipAllowList" not in fields:
        reader.wrong(
            item,
            f"{where}.ipAllowList",
            "The `ipAllowList` field is required for Key Value instances. "
            "Write 'ipAllowList: []' to allow internal access alone",
        )
    plan = _plan(reader, item, fields, known, where)
    mode = known.get("persistenceMode")
    if plan is not None and not plan.disk and mode not in (None, OFF):
        reader.wrong(
            fields["persistenceMode"][1],
            f"{where}.persistenceMode",
            f"the plan '{plan.name}' has no disk; choose a larger plan, or write 'persistenceMode: off'",
        )
    if plan is None or known.get("name") is None or known.get("ipAllowList") is None:
        return None
    return Service(
        name=known["name"],
        allow=known["ipAllowList"],
        plan=plan,
        region=known.get("region") or REGIONS[0],
        policy=known.get("maxmemoryPolicy") or "allkeys-lru",
        shards=known.get("shards") or 1,
        replicas=default_replicas(plan) if known.get("replicas") is None else known["replicas"],
        port=known.get("port"),
        external_port=known.get("externalPort"),
        persistence=known.get("persistenceMode"),
    )


def default_replicas(plan: plans.Plan) -> int:
    """One replica a shard, so that a failover is possible; none on the plan that promises nothing."""
    return 1 if plan.disk else 0


def _plan(reader: Reader, item: Node, fields: Fields, known: dict[str, Any], where: str) -> plans.Plan | None:
    name = known.get("plan") if "plan" in fields else plans.DEFAULT
    if name == plans.CUSTOM:
        for needed in ("maxmemory", "maxclients"):
            if needed not in fields:
                reader.wrong(
                    item,
                    f"{where}.{needed}",
                    f"missing; 'plan: custom' needs it, such as '{needed}: "
                    f"{'2gb' if needed == 'maxmemory' else '1000'}'",
                )
        size, clients = known.get("maxmemory"), known.get("maxclients")
        return plans.custom(size, clients) if size and clients else None
    for given in ("maxmemory", "maxclients"):
        if given in fields and name is not None:
            reader.wrong(
                fields[given][0],
                f"{where}.{given}",
                f"the plan '{name}' sets it; write 'plan: custom' to choose it yourself",
            )
    return plans.LADDER[name] if name is not None else None


def _name(reader: Reader, node: Node, where: str) -> str | None:
    name = reader.text(node, where)
    if name is None or _NAME.fullmatch(name):
        return name
    reader.wrong(
        node,
        where,
        f"'{short(name)}' is no name; at most 40 letters, digits, '.', '_' and '-', the first a letter or digit",
    )
    return None


def _policy(reader: Reader, node: Node, where: str) -> str | None:
    return reader.choice(node, where, POLICIES, "eviction policy")


def _persistence(reader: Reader, node: Node, where: str) -> Mode | None:
    word = reader.text(node, where)
    if word is None or word in MODES:
        return MODES.get(word or "")
    ours = OTHER_NAMES.get(word.lower())
    if ours is not None:
        known = "; ".join(f"{mode.name} = {mode.about}" for mode in MODES.values())
        reader.wrong(node, where, f"'{short(word)}' is called '{ours}' here ({known})")
    else:
        reader.choice(node, where, tuple(MODES), "mode of persistence")
    return None


def _plan_name(reader: Reader, node: Node, where: str) -> str | None:
    return reader.choice(node, where, plans.NAMES, "plan")


def _preview_plan(reader: Reader, node: Node, where: str) -> str | None:
    reader.warn(node, where, "without effect: Kvorum has no preview environments")
    return _plan_name(reader, node, where)


def _region(reader: Reader, node: Node, where: str) -> str | None:
    region = reader.text(node, where)
    if region is not None and region not in REGIONS:
        reader.warn(
            node,
            where,
            f"'{short(region)}' is none of the known regions ({', '.join(REGIONS)}); it is kept "
            "as a label, since everything runs on this host",
        )
    return region


def _size(reader: Reader, node: Node, where: str) -> int | None:
    text = reader.text(node, where)
    if text is None:
        return None
    size = memory(text.encode()) or 0
    if not MIN_MEMORY <= size <= MAX_MEMORY:
        reader.wrong(node, where, f"'{short(text)}' is no size of memory from 1mb; write it as 512mb or 2gb")
        return None
    return size


def _allow_list(reader: Reader, node: Node, where: str) -> tuple[Allowed, ...] | None:
    items = reader.sequence(node, where, MAX_ALLOW)
    if items is None:
        return None
    allowed: list[Allowed] = []
    for index, item in enumerate(items):
        here = f"{where}[{index}]"
        entry = reader.mapping(item, here)
        if entry is None:
            continue
        for name, (key, _) in entry.items():
            if name not in ("source", "description"):
                reader.wrong(key, f"{here}.{name}", "unknown field; known are source and description")
        if "source" not in entry:
            reader.wrong(item, f"{here}.source", "missing; an address or network, such as 203.0.113.0/24")
            continue
        source = _network(reader, entry["source"][1], f"{here}.source")
        about = reader.text(entry["description"][1], f"{here}.description") if "description" in entry else ""
        if source is not None and about is not None:
            allowed.append(Allowed(source, " ".join(about.split())[:200]))
    return tuple(allowed)


def _network(reader: Reader, node: Node, where: str) -> str | None:
    text = reader.text(node, where)
    if text is None:
        return None
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            reader.wrong(
                node, where, f"'{short(text)}' is no address or network; write it as 203.0.113.5 or 203.0.113.0/24"
            )
        else:
            reader.wrong(node, where, f"'{text}' has bits set beyond its mask; the network is {network}")
    return None


def _counted(low: int, high: int) -> Callable[[Reader, Node, str], int | None]:
    return lambda reader, node, where: reader.number(node, where, low, high)


_FIELDS: Final[dict[str, Callable[[Reader, Node, str], Any]]] = {
    "name": _name,
    "plan": _plan_name,
    "previewPlan": _preview_plan,
    "region": _region,
    "maxmemoryPolicy": _policy,
    "persistenceMode": _persistence,
    "ipAllowList": _allow_list,
    "shards": _counted(1, MAX_SHARDS),
    "replicas": _counted(0, MAX_REPLICAS),
    "port": _counted(1, 65535),
    "externalPort": _counted(1, 65535),
    "maxmemory": _size,
    "maxclients": _counted(1, 1_000_000),
}


def _check_ports(reader: Reader, items: list[Node]) -> None:
    """Note a port that two endpoints would share."""
    lines: dict[int, int] = {}
    for index, item in enumerate(items):
        if not isinstance(item, MappingNode):
            continue
        for key, value in item.value:
            name = getattr(key, "value", None)
            if name not in ("port", "externalPort") or not INTEGER.fullmatch(str(value.value)):
                continue
            port = int(value.value)
            if port in lines:
                reader.wrong(
                    value,
                    f"services[{index}].{name}",
                    f"{port} is taken by line {lines[port]}; each endpoint needs a port of its own",
                )
            lines.setdefault(port, line_of(value))


def _check_references(reader: Reader, fields: Fields, where: str, declared: dict[str, Node]) -> None:
    """Check what another service's environment takes from ours."""
    if "envVars" not in fields or not isinstance(fields["envVars"][1], SequenceNode):
        return
    for index, item in enumerate(fields["envVars"][1].value[:MAX_ALLOW]):
        here = f"{where}.envVars[{index}].fromService"
        pairs = item.value if isinstance(item, MappingNode) else []
        taken = next((v for k, v in pairs if getattr(k, "value", None) == "fromService"), None)
        source = reader.mapping(taken, here) if isinstance(taken, MappingNode) else None
        if source is None:
            continue
        kind = source["type"][1].value if "type" in source else None
        name = source["name"][1] if "name" in source else None
        if kind is None and name is not None and name.value in declared:
            reader.wrong(name, f"{here}.type", "missing; write 'type: keyvalue', without it the reference is not found")
        if kind not in ("keyvalue", "redis"):
            continue
        if name is None or name.value not in declared:
            known = ", ".join(declared) or "none"
            reader.wrong(name or item, f"{here}.name", f"no key-value service of this name here; declared: {known}")
        if "property" in source:
            reader.choice(source["property"][1], f"{here}.property", PROPERTIES, "property of a key-value service")
