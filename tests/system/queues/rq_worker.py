"""A worker process of RQ, as its documentation has it for connections with options of one's own: every command is
repeated when its connection breaks.
"""

from __future__ import annotations

import os

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from rq import Queue, SimpleWorker

if __name__ == "__main__":
    connection = redis.Redis.from_url(os.environ["KVORUM_URL"], retry=Retry(ExponentialBackoff(0.5, 0.02), 20))
    SimpleWorker([Queue("square", connection=connection)], connection=connection).work(logging_level="WARNING")
