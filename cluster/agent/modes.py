"""Changing what running nodes keep on disk. At each instant a restart of a node finds all that its mode promised.

First what the new mode writes is switched on beside the old, and waited for until its files are whole; then the old is
switched off. The node's configuration file follows each of the two steps (CONFIG REWRITE). Only then are files that
nobody writes any more put aside, lest a later start load them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import trio

from cluster import persistence
from cluster.agent import identity
from cluster.agent.home import Home
from cluster.agent.ready import loading, parse_info
from cluster.agent.report import Running, RunningProcess
from cluster.files import fsync_folder, write_file
from cluster.link import Link, LinkError, ReplyError, open_link
from cluster.persistence import Mode

PATIENCE: Final = 5.0
LOOK_EVERY: Final = 0.1
GONE_SECONDS: Final = 30.0
"""How long a node that does not answer is tried: its agent may be starting it again."""
AT_ONCE: Final = 2
"""Nodes that write their first files at the same time."""

Say = Callable[[str, str], None]
"""Told the name of a node and what it is doing."""


class ModeError(Exception):
    """A node has not taken the mode; the text says which and why."""


def record(home: Home, service: str, mode: Mode) -> None:
    """Keep the mode of a service for the next runs and for the agent that runs now. Raises OSError, IdentityError."""
    known = identity.from_json(home.state.read_bytes())
    write_file(home.state, identity.to_json(identity.with_mode(known, service, mode)))


async def switch_all(running: Running, service: str, mode: Mode, say: Say) -> None:
    """Bring every node of a service into a mode; raises ModeError naming those that did not take it."""
    home = Home(Path(running.home))
    limit = trio.CapacityLimiter(AT_ONCE)
    failures: dict[str, str] = {}

    async def one(process: RunningProcess) -> None:
        async with limit:
            try:
                await switch_node(process.name, (process.host, process.port), mode, say)
                put_aside(home.process("node", process.name), mode)
            except (ModeError, OSError) as error:
                failures[process.name] = str(error)

    async with trio.open_nursery() as nursery:
        for process in running.processes:
            if process.kind == "node" and process.service == service:
                nursery.start_soon(one, process)
    if failures:
        told = "; ".join(f"{name}: {failures[name]}" for name in sorted(failures))
        raise ModeError(f"not every node keeps '{mode.name}' yet ({told}); nothing is lost, run it again")


async def switch_node(name: str, address: tuple[str, int], mode: Mode, say: Say) -> None:
    """Bring one node into a mode, whatever it is in. Raises ModeError."""
    until = trio.current_time() + GONE_SECONDS
    while True:
        try:
            async with await open_link(*address, connect_timeout=PATIENCE, timeout=PATIENCE) as link:
                await _switch(link, mode, lambda text: say(name, text))
                return
        except ReplyError as error:
            if error.code != "LOADING":
                raise ModeError(error.text) from error
        except LinkError as error:
            if trio.current_time() > until:
                raise ModeError(str(error)) from error
        await trio.sleep(LOOK_EVERY)


async def _switch(link: Link, mode: Mode, say: Callable[[str], None]) -> None:
    await _loaded(link, say)
    now = await mode_on(link)
    if now != mode:
        if mode.journal and not now.journal:
            await _begin_journal(link, say)
        if mode.snapshot and not now.snapshot:
            await _begin_snapshots(link, say)
        await link.ask("CONFIG", "REWRITE")
        for name, value in persistence.directives(mode)[:3]:
            await link.ask("CONFIG", "SET", name, value)
        await link.ask("CONFIG", "REWRITE")
    say(f"keeps '{mode.name}'")


async def mode_on(link: Link) -> Mode:
    """The mode that a node is in. Raises LinkError."""
    reply = await link.ask("CONFIG", "GET", "save", "appendonly")
    words = [word for word in reply if isinstance(word, bytes)] if isinstance(reply, list) else []
    found = dict(zip(words[::2], words[1::2], strict=False))
    return persistence.mode_of(bool(found.get(b"save")), found.get(b"appendonly") == b"yes")


async def _info(link: Link) -> dict[str, str]:
    return parse_info(await link.ask("INFO", "persistence"))


async def _loaded(link: Link, say: Callable[[str], None]) -> None:
    while (info := await _info(link)).get("loading") == "1":
        say(loading(info))
        await trio.sleep(LOOK_EVERY)


async def _begin_journal(link: Link, say: Callable[[str], None]) -> None:
    """Switch the append-only file on, and wait until what it begins with is on disk."""
    await link.ask("CONFIG", "SET", "appendfsync", "everysec", "appendonly", "yes")
    while True:
        info = await _info(link)
        begun = info.get("aof_enabled") == "1"
        busy = info.get("aof_rewrite_in_progress") == "1" or info.get("aof_rewrite_scheduled") == "1"
        if begun and not busy:
            break
        say(f"writes its append-only file: {_share(info)}")
        await trio.sleep(LOOK_EVERY)
    if info.get("aof_last_bgrewrite_status") != "ok":
        await link.ask("CONFIG", "SET", "appendonly", "no")
        raise ModeError("the append-only file can't be written; the node's log says why")


async def _begin_snapshots(link: Link, say: Callable[[str], None]) -> None:
    """Set the save point, and wait for a first RDB file."""
    before = (await _info(link)).get("rdb_saves")
    await link.ask("CONFIG", "SET", "save", persistence.SAVE)
    await link.ask("BGSAVE", "SCHEDULE")
    while True:
        info = await _info(link)
        if info.get("rdb_saves") != before and info.get("rdb_bgsave_in_progress") == "0":
            break
        say(f"writes its RDB file: {_share(info)}")
        await trio.sleep(LOOK_EVERY)
    if info.get("rdb_last_bgsave_status") != "ok":
        raise ModeError("the RDB file can't be written; the node's log says why")


def _share(info: Mapping[str, str]) -> str:
    return f"{float(info.get('current_fork_perc', '0')):.0f} %"


def put_aside(folder: Path, mode: Mode) -> list[str]:
    """Rename what a node in this mode does not write, in place of what was put aside before; gives the old names."""
    done: list[str] = []
    for name in persistence.unwritten(mode):
        path = folder / name
        if not path.exists():
            continue
        aside = path.with_name(name + persistence.ASIDE)
        if aside.is_dir():
            shutil.rmtree(aside)
        os.rename(path, aside)
        done.append(name)
    if done:
        fsync_folder(folder)
    return done
