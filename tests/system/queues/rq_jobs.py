"""The function of RQ's jobs, and their class.

RQ keeps results in streams. The service has no streams yet, so the jobs here keep theirs in the job's own hash, where
RQ still reads it; RQ takes another class of job as an option of its worker.
"""

from __future__ import annotations

from typing import Any

from rq.job import Job, JobStatus

from tests.system.queues.truth import note


class HashJob(Job):
    """A job whose result is a field of its hash."""

    def _handle_success(self, result_ttl: int, pipeline: Any, *_: Any, **__: Any) -> None:
        self.set_status(JobStatus.FINISHED, pipeline=pipeline)
        self.save(pipeline=pipeline, include_meta=False, include_result=True)
        self.finished_job_registry.add(self, result_ttl, pipeline)

    def _handle_failure(self, exc_string: str, pipeline: Any, *_: Any, **__: Any) -> None:
        self.failed_job_registry.add(self, ttl=self.failure_ttl, exc_string=exc_string, pipeline=pipeline)


def square(number: int) -> int:
    """Note the run, and answer with the square."""
    note(number)
    return number * number
