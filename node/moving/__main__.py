"""`python -m node.moving`: does the job that comes on standard input. Exit status: 0 done, 1 failed, 130 stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import trio

from cluster.moving import MAX_JOB, Event, Job, MovingFiles
from node.moving.backup import Backup
from node.moving.errors import MoveError, unwrapped
from node.moving.files import Import
from node.moving.fork import Fork
from node.moving.report import Reporter
from node.moving.restore import Restore
from node.moving.target import Target

DONE: Final = 0
FAILED: Final = 1
STOPPED: Final = 130


async def _work(job: Job, files: MovingFiles, report: Reporter) -> None:
    if job.what == "fork":
        await Fork(job, files, report).run()
    elif job.what == "import":
        await Import(job, report).run()
    elif job.what == "backup":
        await Backup(job, report).run()
    elif job.what == "restore":
        await Restore(job, report).run()
    else:
        await _release(job, report)


async def _release(job: Job, report: Reporter) -> None:
    """End the import mode that a killed mover left."""
    async with trio.open_nursery() as nursery:
        missed = await Target(job.target, nursery).leave_import_mode()
    if missed:
        raise MoveError(f"these nodes do not answer: {', '.join(missed)}")
    report.say(Event("done", text=f"no node of '{job.target.name}' is in import mode any more"))


async def _main(job: Job, files: MovingFiles, report: Reporter) -> int:
    """Work until it is done, or a signal comes."""
    stopped = False
    # The receiver outlives the work: a second signal must not disturb what is put in order after the first.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal stopped
                async for _ in signals:
                    stopped = True
                    nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            await unwrapped(_work, job, files, report)
            nursery.cancel_scope.cancel()
    if not stopped:
        return DONE
    report.say(Event("stopped", phase=report.phase, text="stopped; what was written to the target so far stays there"))
    return STOPPED


def main() -> int:
    """Read the job, do it, and say how it went."""
    data = sys.stdin.buffer.read(MAX_JOB)
    job = msgspec.json.decode(data, type=Job)
    files = MovingFiles(Path(job.folder), f"{job.target.name}.backup" if job.what == "backup" else job.target.name)
    files.create()
    report = Reporter(files, time.monotonic)
    lock = files.acquire(job.what)
    if lock is None:
        refusal = Event("error", text=f"data is moving into '{job.target.name}' already" if job.what != "backup" else
                        f"a backup of '{job.target.name}' is being taken already")  # fmt: skip
        os.write(sys.stdout.fileno(), msgspec.json.encode(refusal) + b"\n")
        return FAILED
    files.progress.unlink(missing_ok=True)
    try:
        return trio.run(unwrapped, _main, job, files, report)
    except KeyboardInterrupt:
        return STOPPED
    except MoveError as error:
        report.say(Event("error", phase=report.phase, text=str(error)))
    except OSError as error:
        with contextlib.suppress(OSError):
            report.say(Event("error", phase=report.phase, text=str(error)))
    finally:
        os.close(lock)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
