"""What an RDB file holds and where it breaks, for `kvorum check`: every key is decoded, and dropped again."""

from typing import BinaryIO

from node.keyspace import Value
from node.rdb.file import END, KEY, RdbReader
from node.rdb.reader import RdbError
from node.types.hash import Hash
from node.types.quicklist import List
from node.types.set import Set
from node.types.stream import Stream
from node.types.zset import ZSet

BIGGEST = 5  # keys that are named


class BigKey:
    """A key that takes much of the file: its bytes there, and elements (bytes of a string)."""

    def __init__(self, size: int, dbid: int, key: bytes, kind: str, elements: int) -> None:
        self.size = size
        self.dbid = dbid
        self.key = key
        self.kind = kind
        self.elements = elements


class Database:
    """Number of keys, of keys that expire, of keys of each type."""

    def __init__(self) -> None:
        self.keys = 0
        self.expires = 0
        self.types: dict[str, int] = {}


class Survey:
    """The account of one file; `error` is None when it is sound to the end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.version = ""
        self.aux: dict[bytes, bytes] = {}
        self.databases: dict[int, Database] = {}
        self.functions = 0
        self.modules: list[str] = []
        self.importing: list[tuple[int, int]] = []
        self.empty = 0
        self.biggest: list[BigKey] = []
        self.last_key: bytes | None = None
        self.last_dbid = 0
        self.broken_key: bytes | None = None  # the key whose value breaks
        self.error: RdbError | None = None
        self.trailing = 0  # bytes after the end: commands, in an AOF that begins with an RDB

    def _note(self, file: RdbReader) -> None:
        value = file.value
        kind = value.type_name().decode() if isinstance(value, Value) else "string"
        database = self.databases.setdefault(int(file.dbid), Database())
        database.keys += 1
        database.expires += file.expire_at > 0
        database.types[kind] = database.types.get(kind, 0) + 1
        self.last_key = file.key
        self.last_dbid = int(file.dbid)
        size = int(file.offset() - file.began)
        if len(self.biggest) < BIGGEST or size > self.biggest[-1].size:
            self.biggest.append(BigKey(size, int(file.dbid), file.key, kind, _elements(value)))
            self.biggest.sort(key=lambda big: big.size, reverse=True)
            del self.biggest[BIGGEST:]

    def _take_over(self, file: RdbReader) -> None:
        """What the reader itself counts."""
        self.version = f"{'VALKEY' if file.valkey else 'REDIS'} {file.version}"
        self.aux = file.aux
        self.functions = len(file.functions)
        self.modules = file.modules
        self.importing = file.importing
        self.empty = int(file.empty)

    def report(self) -> dict[str, object]:
        """What the file holds, as data that JSON can hold."""
        told: dict[str, object] = {
            "version": self.version,
            "aux": {text(name): text(value) for name, value in self.aux.items()},
            "databases": {
                str(dbid): {"keys": db.keys, "expires": db.expires, "types": dict(sorted(db.types.items()))}
                for dbid, db in sorted(self.databases.items())
            },
            "keys": self.keys(),
            "functions": self.functions,
            "biggest": [_big(big) for big in self.biggest],
        }
        if self.modules:
            told["modules"] = self.modules
        if self.importing:
            told["importing_slots"] = [f"{first}-{last}" for first, last in self.importing]
        if self.empty:
            told["empty_keys"] = self.empty
        return told

    def keys(self) -> int:
        """Of all databases."""
        return sum(db.keys for db in self.databases.values())


def text(data: bytes) -> str:
    """Bytes for people: printable ones as they are."""
    return data.decode("utf-8", "backslashreplace")


def _big(big: BigKey) -> dict[str, object]:
    unit = "bytes" if big.kind == "string" else "elements"
    return {"db": big.dbid, "key": text(big.key), "type": big.kind, "bytes_in_file": big.size, unit: big.elements}


def lines(told: dict[str, object]) -> list[str]:
    """The report of `Survey.report` as text."""
    aux, databases, biggest = told["aux"], told["databases"], told["biggest"]
    assert isinstance(aux, dict)
    assert isinstance(databases, dict)
    assert isinstance(biggest, list)
    said = [f"RDB version {told['version'] or 'unknown'}"]
    said += [f"  {name}: {value}" for name, value in aux.items()]
    for dbid, db in databases.items():
        types = ", ".join(f"{kind} {number}" for kind, number in db["types"].items())
        said.append(f"db {dbid}: {db['keys']} keys, {db['expires']} with expiry ({types})")
    said.append(f"keys: {told['keys']}, libraries of functions: {told['functions']}")
    for big in biggest:
        inside = f", {big['elements']} elements" if "elements" in big else ""
        said.append(f"  big: db {big['db']} {big['key']!r}, {big['type']}, {big['bytes_in_file']} bytes{inside}")
    for name in ("modules", "importing_slots", "empty_keys"):
        if name in told:
            said.append(f"{name.replace('_', ' ')}: {told[name]}")
    return said


def _elements(value: object) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Hash | Set):
        return int(value.count())
    if isinstance(value, List | Stream):
        return int(value.length)
    return int(value.count) if isinstance(value, ZSet) else 0


def survey(file: BinaryIO, size: int) -> Survey:
    """Read a file of so many bytes to its end, or to where it breaks. Raises OSError alone."""
    found = Survey(size)
    reader: RdbReader | None = None
    try:
        reader = RdbReader(file, size)
        step = reader.advance()
        while step != END:
            if step == KEY:
                found._note(reader)
            step = reader.advance()
        found.trailing = size - int(reader.offset())
    except RdbError as error:
        found.error = error
        if reader is not None and reader.key:
            found.broken_key = reader.key
    if reader is not None:
        found._take_over(reader)
    return found
