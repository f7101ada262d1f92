"""What the Python applications of tests/apps run: a Celery application, jobs of RQ, a Django site."""
