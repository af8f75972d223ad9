"""The fixtures of pytest, which finds them by the package's entry point."""

from collections.abc import Iterator

import pytest

import strongroom
from strongroom import aio
from strongroom.testing import memory_store


@pytest.fixture
def strongroom_store() -> Iterator[strongroom.Strongroom]:
    """An empty store in memory."""
    with memory_store() as store:
        yield store


@pytest.fixture
def strongroom_aio_store(strongroom_store: strongroom.Strongroom) -> aio.Strongroom:
    """The store of ``strongroom_store`` for asyncio."""
    return aio.Strongroom(strongroom_store)
