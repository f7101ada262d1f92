"""What the workers of tests/system/test_queues.py run: a Celery application and the functions of RQ's jobs."""
