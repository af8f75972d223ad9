"""What several tests need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom

#: The checkout.
ROOT = Path(__file__).resolve().parents[2]

#: Lengths of data around every limit of the format.
SIZES = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000]


def pattern(length: int) -> bytes:
    """Data whose bytes tell their places."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def store(path: Path) -> Iterator[strongroom.Strongroom]:
    with strongroom.open(path) as store:
        yield store
