"""The command `kvorum`: up, down, status, failover, persistence, backup, restore, check, fork, import, info.

Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments or blueprint, 3 nothing runs here.
"""

from __future__ import annotations

import functools
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final, NoReturn, ParamSpec, TypeVar

import click
import msgspec
import trio
from rich.console import Console

from cluster import blueprint as blueprints
from cluster import slots
from cluster.agent import modes, report, status
from cluster.agent.down import down as stop_agent
from cluster.agent.home import Home, HomeError, default_folder
from cluster.agent.identity import IdentityError
from cluster.agent.ports import PortError
from cluster.agent.up import Observer, StartError
from cluster.agent.up import up as run_agent
from cluster.moving import Job, TargetService
from cluster.persistence import MODES
from cluster.version import KVORUM_VERSION, VALKEY_VERSION
from sentinel.cli import check, moving, progress, show

FAILED: Final = 1
WRONG: Final = 2
NOTHING: Final = 3

P = ParamSpec("P")
T = TypeVar("T")

_KNOWN_ERRORS: Final = (
    HomeError, PortError, IdentityError, StartError, status.StatusError, modes.ModeError, OSError,
)  # fmt: skip


def fail(text: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong on standard error, and exit."""
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(text, err=True)
    sys.exit(code)


def _run(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something on trio; an expected error becomes a message and an exit status."""
    try:
        return trio.run(functools.partial(work, *args, **kwargs))
    except BaseException as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        if isinstance(cause, _KNOWN_ERRORS):
            fail(str(cause))
        if isinstance(cause, KeyboardInterrupt):
            sys.exit(128 + signal.SIGINT)
        raise


def _running(home: Home) -> report.Running:
    """What runs on this data directory; exits when nothing does."""
    try:
        running = report.load(home)
    except HomeError as error:
        fail(str(error))
    if running is None and home.holder() is not None:
        fail("the services are still starting; try again in a moment", NOTHING)
    if running is None:
        fail(f"nothing runs on {home.folder}. Start it by 'kvorum up', or name another directory by --home", NOTHING)
    return running


def _home(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Home:
    return Home((value or default_folder()).absolute())


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_home,
    help="Data directory.  [default: $KVORUM_HOME, else ./.kvorum]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, for scripts.")
port_type = click.IntRange(1, 65535)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(KVORUM_VERSION, "--version", prog_name="kvorum")
def main() -> None:
    """Run and steer your own key-value service: Valkey on the wire, sharded, replicated, watched."""


@main.command()
@click.argument("blueprint", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--port", type=port_type, help="Port of the internal endpoint.  [default: 6379]")
@click.option("--external-port", type=port_type, help="Port of the external TLS endpoint.  [default: 6380]")
@click.option("--node-ports", type=port_type, help="First port for nodes and sentinels.  [default: 7000, 26379]")
@json_option
@home_option
def up(
    blueprint: Path | None,
    port: int | None,
    external_port: int | None,
    node_ports: int | None,
    as_json: bool,
    home: Home,
) -> None:
    """Start the services of a blueprint and keep them running until Ctrl-C.

    FILE is a blueprint; without one, kvorum.yaml in this folder if it is there, else one service 'cache' of three
    shards with a replica each.
    """
    if blueprint is None and Path("kvorum.yaml").exists():
        blueprint = Path("kvorum.yaml")
    declared = _read(blueprint)
    try:
        declared = blueprints.with_ports(declared, port, external_port)
    except ValueError as error:
        fail(str(error), WRONG)
    observer = _observer(as_json)
    try:
        _run(run_agent, declared, home, observer, node_ports)
    finally:
        if isinstance(observer, progress.Screen):
            observer.close()
    observer.message("stopped")


def _read(path: Path | None) -> blueprints.Blueprint:
    """The declared services; exits with every mistake of the file."""
    if path is None:
        return blueprints.default_blueprint()
    try:
        declared = blueprints.read(path)
    except OSError as error:
        fail(f"cannot read the blueprint {path}: {error.strerror}", WRONG)
    except blueprints.BlueprintError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        fail(f"{count} mistake{'s' if count > 1 else ''} in {path}; nothing was started", WRONG)
    for problem in declared.warnings:
        click.secho("warning: ", fg="yellow", err=True, nl=False)
        click.echo(str(problem), err=True)
    return declared


def _observer(as_json: bool) -> Observer:
    if as_json:
        return progress.Json(Console(stderr=True), click.echo)
    console = _console()
    return progress.Screen(console) if console.is_terminal else progress.Lines(console)


def _console() -> Console:
    """Standard output; wide enough for every column where nobody's window bounds it."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


@main.command()
@home_option
def down(home: Home) -> None:
    """Stop what runs, and wait until it has."""
    pid = _run(stop_agent, home)
    click.echo(f"nothing runs on {home.folder}" if pid is None else f"stopped (pid {pid})")


@main.command("status")
@json_option
@click.option("--include-sensitive-connection-info", "secrets", is_flag=True, help="Show passwords in URLs.")
@home_option
def show_status(as_json: bool, secrets: bool, home: Home) -> None:
    """Show services, shards, roles, offsets, lag, memory and clients.

    Exit status 0 when all is available or degraded, 1 when a service is unavailable, 3 when nothing runs.
    """
    found = _run(status.gather, _running(home))
    if as_json:
        services = tuple(
            msgspec.structs.replace(one, external_url=one.external_url and show.masked(one.external_url))
            for one in found.services
        )
        found = found if secrets else msgspec.structs.replace(found, services=services)
        click.echo(msgspec.json.encode(found))
    else:
        show.status(_console(), found, secrets=secrets)
    sys.exit(FAILED if found.state == "unavailable" else 0)


@main.command()
@click.argument("service")
@click.argument("shard")
@click.option("--timeout", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds to wait.")
@home_option
def failover(service: str, shard: str, timeout: float, home: Home) -> None:
    """Promote a replica of SHARD (its index or name) of SERVICE, and wait until it leads."""
    old, new, seconds = _run(status.failover, _running(home), service, shard, timeout)
    click.echo(f"{new} is the primary now, in the place of {old}; it took {seconds:.2f} s")


@main.command()
@click.argument("service")
@click.argument("mode", required=False, type=click.Choice(tuple(MODES)))
@home_option
def persistence(service: str, mode: str | None, home: Home) -> None:
    """Show what SERVICE keeps on disk, or have it keep MODE from now on, without a restart.

    Its data stay. MODE holds until the blueprint says another by 'persistenceMode'.
    """
    running = _running(home)
    names = [one.name for one in running.services]
    if service not in names:
        fail(f"no service '{service}'; there are: {', '.join(names)}")
    if mode is None:
        found = MODES[running.services[names.index(service)].persistence]
        click.echo(f"{found.name}: {found.about}")
        return
    modes.record(home, service, MODES[mode])
    _run(modes.switch_all, running, service, MODES[mode], progress.Changes(click.echo).say)
    click.echo(f"service {service} keeps '{mode}': {MODES[mode].about}")
    if running.services[names.index(service)].plan == "free" and mode != "off":
        click.echo("The plan 'free' has no disk: give it a larger one in the blueprint before the next 'kvorum up'.")
    else:
        click.echo("It stays so, unless the blueprint says another 'persistenceMode' at the next 'kvorum up'.")


@main.command("check")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--fix", is_flag=True, help="Cut a torn end off an append-only file, and keep it beside the file.")
@json_option
def check_file(file: Path, as_json: bool, fix: bool) -> None:
    """Tell what an RDB or append-only file holds, and where it breaks.

    FILE may come from Kvorum, Redis or Valkey; of append-only files it is the manifest, its folder, or one of the
    files; or it is the data folder of a server, with all that is in it. Exit status 0 when it is sound, 1 when it is
    broken.
    """
    sys.exit(check.run(file, as_json, fix))


def _has_key_table() -> bool:
    """Whether the extension of the compact store was built: the nodes use it then, unless KVORUM_STORE says plain."""
    folder = Path(slots.__file__).resolve().parent.parent / "node" / "keytable"
    built = any((folder / f"table{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
    return built and os.environ.get("KVORUM_STORE") != "plain"


@main.command()
@click.argument("source", metavar="SOURCE_URL", required=False)
@click.argument("service", metavar="NAME", required=False)
@click.option("--ca", type=click.Path(), default="", help="Certificate of the authority that signed the source's.")
@click.option("--insecure", is_flag=True, help="Do not check the source's certificate.")
@click.option("--cut-over-when-synced", "at_once", is_flag=True, help="Cut over as soon as the target has caught up.")
@click.option("--cut-over", "cut_over", metavar="NAME", help="Have the fork into NAME, which runs elsewhere, cut over.")
@click.option(
    "--pause",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds for which the source takes no writes at the cut-over and after it.",
)
@click.option("--replace", is_flag=True, help="Empty the target first.")
@click.option("--confirm", metavar="NAME", help="The target's name, instead of the question that --replace asks.")
@json_option
@home_option
def fork(
    source: str | None,
    service: str | None,
    ca: str,
    insecure: bool,
    at_once: bool,
    cut_over: str | None,
    pause: float,
    replace: bool,
    confirm: str | None,
    as_json: bool,
    home: Home,
) -> None:
    """Copy everything from a live server into a service, follow it, and cut over on command.

    SOURCE_URL is redis://user:password@host:port, or rediss:// for TLS; '-' reads it from standard input. The source
    must let a replica follow it (PSYNC or SYNC). Exit status 0 once cut over, 1 failed, 130 stopped by Ctrl-C.
    """
    if cut_over is not None:
        if source is not None:
            fail("--cut-over NAME takes no source: the fork that runs knows it", WRONG)
        sys.exit(_move(moving.cut_over, home, _running(home), cut_over, as_json, _console()))
    if source is None or service is None:
        fail("a source and a service are needed: kvorum fork SOURCE_URL NAME", WRONG)
    url = sys.stdin.readline().strip() if source == "-" else source
    job = Job("fork", _target(home, service), str(moving.folder(home)), url, ca and str(Path(ca).absolute()), insecure,
              _may_replace(service, replace, confirm), at_once, pause)  # fmt: skip
    sys.exit(_move(moving.run, job, as_json, _console()))


@main.command("import")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.argument("service", metavar="NAME")
@click.option("--replace", is_flag=True, help="Empty the target first.")
@click.option("--confirm", metavar="NAME", help="The target's name, instead of the question that --replace asks.")
@json_option
@home_option
def import_file(file: Path, service: str, replace: bool, confirm: str | None, as_json: bool, home: Home) -> None:
    """Load an RDB file or an append-only file into a service.

    FILE comes from Redis, Valkey or Kvorum: a dump.rdb, an appendonly.aof, or the folder appendonlydir with its
    manifest. It is read to its end before anything is written. Exit status 0 done, 1 failed.
    """
    job = Job("import", _target(home, service), str(moving.folder(home)), str(file.absolute()),
              replace=_may_replace(service, replace, confirm))  # fmt: skip
    sys.exit(_move(moving.run, job, as_json, _console()))


@main.command()
@click.argument("service", metavar="NAME")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
@home_option
def backup(service: str, folder: Path, as_json: bool, home: Home) -> None:
    """Take a backup of a service: one RDB file a shard, all of the same instant, and a manifest.

    DIR is made, or empty. Writes wait for some ten milliseconds meanwhile, at most a second. Exit status 0 done, 1
    failed.
    """
    job = Job("backup", _target(home, service), str(moving.folder(home)), str(folder.absolute()))
    sys.exit(_move(moving.run, job, as_json, _console()))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("service", metavar="NAME")
@click.option("--replace", is_flag=True, help="Empty the target first.")
@click.option("--confirm", metavar="NAME", help="The target's name, instead of the question that --replace asks.")
@json_option
@home_option
def restore(folder: Path, service: str, replace: bool, confirm: str | None, as_json: bool, home: Home) -> None:
    """Bring a backup into a service, of as many shards or of another number.

    DIR is what 'kvorum backup' made; its checksums are verified before anything is written. Exit status 0 done, 1
    failed.
    """
    job = Job("restore", _target(home, service), str(moving.folder(home)), str(folder.absolute()),
              replace=_may_replace(service, replace, confirm))  # fmt: skip
    sys.exit(_move(moving.run, job, as_json, _console()))


def _target(home: Home, name: str) -> TargetService:
    running = _running(home)
    return _move(lambda: moving.target(running, moving.find(running, name)))


def _may_replace(name: str, replace: bool, confirm: str | None) -> bool:
    """Whether the target is to be emptied; exits unless that is confirmed by its name."""
    if not replace:
        return False
    if confirm is None and sys.stdin.isatty():
        click.echo(f"All keys of '{name}' will be removed. To proceed, type {name} or re-run with --confirm {name}")
        confirm = click.prompt("name", prompt_suffix="> ")
    if confirm != name:
        fail(f"--replace removes all keys of '{name}'. To proceed, re-run this command with --confirm {name}", WRONG)
    return True


def _move(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something of `moving`; an expected error becomes a message and an exit status."""
    try:
        return work(*args, **kwargs)
    except (moving.MovingError, OSError) as error:
        fail(str(error))


@main.command()
@json_option
def info(as_json: bool) -> None:
    """Show versions, whether the engine is compiled, and which store it keeps its keys in."""
    compiled = not str(slots.__file__).endswith(".py")
    facts = {
        "kvorum": KVORUM_VERSION,
        "valkey": VALKEY_VERSION,
        "engine": "compiled" if compiled else "interpreted",
        "store": "compact" if _has_key_table() else "plain",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name + ':':10}{value}")
    if not compiled:
        click.echo("The interpreted engine is several times slower; install a C compiler, then Kvorum again.")
    elif facts["store"] == "plain":
        click.echo("The plain store takes two to three times the memory; install a C compiler, then Kvorum again.")


if __name__ == "__main__":
    main()
