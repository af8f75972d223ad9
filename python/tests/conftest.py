"""Helpers of several tests."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import strongroom

#: The checkout.
ROOT = Path(__file__).resolve().parents[2]

#: Lengths of data around every limit of the format.
SIZES = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000]


def pattern(length: int) -> bytes:
    """Data whose bytes depend on their offsets."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def store(path: Path) -> Iterator[strongroom.Strongroom]:
    with strongroom.open(path) as store:
        yield store


LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
input()
database.rollback()
"""


@contextmanager
def locking(path: Path) -> Iterator[Callable[[], object]]:
    """Make another process write to the store until the result is called: other writers wait for up to 5 s."""
    command = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield lambda: process.communicate("\n")
        process.kill()


@pytest.fixture
def locked(store: strongroom.Strongroom, path: Path) -> Iterator[Callable[[], object]]:
    """As `locking`, for the store of the test."""
    with locking(path) as unlock:
        yield unlock


async def cancel_at_its_end(call: Awaitable[object], file: object, method: str, patch: pytest.MonkeyPatch) -> None:
    """Cancel a call when its thread has done the work of ``method``, and goes on for a moment."""
    work, done, go_on = getattr(file, method), threading.Event(), threading.Event()

    def slow(*args: Any) -> object:
        outcome = work(*args)
        done.set()
        go_on.wait(60)
        return outcome

    with patch.context() as context:
        context.setattr(file, method, slow)
        task = asyncio.ensure_future(call)
        assert await asyncio.to_thread(done.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    asyncio.get_running_loop().call_later(0.05, go_on.set)


def keyring_calls(keyring: strongroom.Keyring, key: strongroom.Key, recipient: str) -> list[Callable[[], object]]:
    """Every method of a keyring."""
    return [
        lambda: keyring.get("id"),
        lambda: keyring.keys("id"),
        lambda: keyring.insert("id", key),
        lambda: keyring.insert_many([("id", key)]),
        lambda: keyring.remove("id"),
        keyring.ids,
        keyring.export,
        lambda: keyring.rotate(recipients=[recipient]),
        lambda: len(keyring),
    ]
