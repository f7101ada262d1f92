"""Sends as many jobs as told to the Celery application, and prints their ids."""

from __future__ import annotations

import sys

from tests.system.queues.celery_app import square

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        print(square.apply_async((number,), ignore_result=False).id)
