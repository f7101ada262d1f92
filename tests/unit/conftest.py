"""What every unit test starts from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.settings import new_settings
from node.tuning import tune

STOCK = new_settings()


@pytest.fixture(autouse=True)
def stock_limits() -> Iterator[None]:
    """The limits of the encodings belong to the process: an engine that a test built may have changed them."""
    yield
    tune(STOCK)
