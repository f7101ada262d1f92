"""Rows encoded as COMMAND INFO and COMMAND DOCS show them, for every process that answers COMMAND.

A row never changes while a process runs, so each is rendered once for each protocol version and kept.
"""

from collections.abc import Iterable
from functools import cache

from cluster.catalog.model import (
    ARGUMENT_FLAG_NAMES,
    BEGIN_INDEX,
    BEGIN_KEYWORD,
    FIND_KEYNUM,
    FIND_RANGE,
    KEY_FLAG_NAMES,
    Argument,
    Command,
    KeySpec,
    names_of,
)
from cluster.resp.replies import ReplyWriter


# --- a row as COMMAND INFO shows it
@cache
def render_info(row: Command, resp3: bool) -> bytes:
    """Return the encoded element of COMMAND INFO: ten fields, subcommands nested."""
    w = _writer(resp3)
    w.array(10)
    w.bulk(row.name)
    w.integer(row.arity)
    write_statuses(w, row.flag_names())
    w.integer(row.first_key)
    w.integer(row.last_key)
    w.integer(row.key_step)
    write_statuses(w, ["@" + name for name in row.category_names()])
    w.set(len(row.tips))
    for tip in row.tips:
        _text(w, tip)
    w.set(len(row.key_specs))
    for spec in row.key_specs:
        _spec(w, spec)
    w.array(len(row.subcommands))
    for sub in row.subcommands.values():
        w.raw(render_info(sub, resp3))
    return w.out.getvalue()


def _spec(w: ReplyWriter, spec: KeySpec) -> None:
    w.map(4 if spec.notes else 3)
    if spec.notes:
        _pair(w, "notes", spec.notes)
    _text(w, "flags")
    write_statuses(w, names_of(spec.flags, KEY_FLAG_NAMES))
    if spec.begin == BEGIN_INDEX:
        _search(w, "begin_search", "index", [("index", spec.position)])
    elif spec.begin == BEGIN_KEYWORD:
        _search(w, "begin_search", "keyword", [("keyword", spec.keyword), ("startfrom", spec.position)])
    else:
        _search(w, "begin_search", "unknown", [])
    if spec.find == FIND_RANGE:
        _search(w, "find_keys", "range", [("lastkey", spec.last), ("keystep", spec.step), ("limit", spec.limit)])
    elif spec.find == FIND_KEYNUM:
        fields: list[tuple[str, int | bytes]] = [("keynumidx", spec.count_at), ("firstkey", spec.first)]
        _search(w, "find_keys", "keynum", [*fields, ("keystep", spec.step)])
    else:
        _search(w, "find_keys", "unknown", [])


def _search(w: ReplyWriter, name: str, kind: str, fields: list[tuple[str, int | bytes]]) -> None:
    _text(w, name)
    w.map(2)
    _pair(w, "type", kind)
    _text(w, "spec")
    w.map(len(fields))
    for field, value in fields:
        _text(w, field)
        if isinstance(value, bytes):
            w.bulk(value)
        else:
            w.integer(value)


# --- a row as COMMAND DOCS shows it
@cache
def render_docs(row: Command, resp3: bool) -> bytes:
    """Return the encoded name and map of COMMAND DOCS."""
    fields = [
        ("summary", row.summary), ("since", row.since), ("group", row.group), ("complexity", row.complexity),
    ]  # fmt: skip
    further = [("deprecated_since", row.deprecated_since), ("replaced_by", row.replaced_by)]
    lists: list[bool] = [bool(row.doc_flags), bool(row.history), bool(row.arguments), bool(row.subcommands)]
    w = _writer(resp3)
    w.bulk(row.name)
    w.map(sum(1 for _, value in fields + further if value) + sum(lists))
    _pairs(w, fields)
    if row.doc_flags:
        _text(w, "doc_flags")
        write_statuses(w, row.doc_flags)
    _pairs(w, further)
    if row.history:
        _text(w, "history")
        w.set(len(row.history))
        for version, change in row.history:
            w.array(2)
            _text(w, version)
            _text(w, change)
    _arguments(w, row.arguments)
    if row.subcommands:
        _text(w, "subcommands")
        w.map(len(row.subcommands))
        for sub in row.subcommands.values():
            w.raw(render_docs(sub, resp3))
    return w.out.getvalue()


def _arguments(w: ReplyWriter, arguments: list[Argument]) -> None:
    if not arguments:
        return
    _text(w, "arguments")
    w.array(len(arguments))
    for argument in arguments:
        _argument(w, argument)


def _argument(w: ReplyWriter, a: Argument) -> None:
    shown: list[tuple[str, str]] = [("name", a.name), ("type", a.type), ("display_text", a.display_text)]
    versions = [("summary", a.summary), ("since", a.since), ("deprecated_since", a.deprecated_since)]
    size = sum(1 for _, value in shown + versions if value)
    others: list[bool] = [a.key_spec_index >= 0, a.token is not None, a.flags != 0, bool(a.arguments)]
    w.map(size + sum(others))
    _pairs(w, shown)
    if a.key_spec_index >= 0:
        _text(w, "key_spec_index")
        w.integer(a.key_spec_index)
    if a.token is not None:
        _pair(w, "token", a.token)
    _pairs(w, versions)
    if a.flags:
        _text(w, "flags")
        write_statuses(w, names_of(a.flags, ARGUMENT_FLAG_NAMES))
    _arguments(w, a.arguments)


# --- small pieces
def _writer(resp3: bool) -> ReplyWriter:
    w = ReplyWriter()
    w.resp3 = resp3
    return w


def _text(w: ReplyWriter, text: str) -> None:
    w.bulk(text.encode())


def _pair(w: ReplyWriter, name: str, text: str) -> None:
    _text(w, name)
    _text(w, text)


def _pairs(w: ReplyWriter, pairs: Iterable[tuple[str, str]]) -> None:
    for name, text in pairs:
        if text:
            _pair(w, name, text)


def write_statuses(w: ReplyWriter, names: list[str]) -> None:
    """Write a set of status replies."""
    w.set(len(names))
    for name in names:
        w.simple(name.encode())
