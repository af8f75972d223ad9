"""A store in PostgreSQL: the same text opens it as in the program."""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from conftest import ROOT, pattern
from strongroom import IndexKey, aio
from test_processes import in_child, raises_forked

SCRIPT = str(ROOT / "core" / "tests" / "support" / "postgres.sh")
INDEX_KEY = IndexKey.generate()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        folder.chmod(0o755)  # PostgreSQL has a user of its own
        subprocess.run([SCRIPT, "init", name], check=True, timeout=60)
        with subprocess.Popen([SCRIPT, "run", name, str(port)]) as server:
            try:
                deadline = time.monotonic() + 60
                url = f"postgres://strongroom@{name.replace('/', '%2F')}%2Fdata:{port}/postgres"
                while True:
                    try:
                        strongroom.open(url, index_key=INDEX_KEY).close()
                        break
                    except strongroom.StorageError:
                        assert time.monotonic() < deadline and server.poll() is None
                        time.sleep(0.1)
                yield url
            finally:
                server.kill()


def test_a_store_in_postgres_keeps_records(url: str, path: Path) -> None:
    with strongroom.open(url, index_key=INDEX_KEY) as store:
        key, long_key = store.store("id", b"data"), store.store("long", pattern(3_000_000))
        assert store.retrieve("id", key) == b"data"
        with pytest.raises(strongroom.AlreadyExistsError):
            store.store("id", b"other")
        with store.open_record("long", long_key) as record:
            assert record.read() == pattern(3_000_000)
        assert store.stats().records == 2
    assert strongroom.copy(url, path).records == 2
    with strongroom.open(path, index_key=INDEX_KEY) as copy:
        assert copy.retrieve("id", key) == b"data"


def test_a_store_that_must_exist_is_not_made(url: str) -> None:
    other = f"{url}?schema=other"
    for _ in range(2):
        with pytest.raises(strongroom.InvalidArgumentError, match="does not exist"):
            strongroom.open(other, index_key=INDEX_KEY, must_exist=True)
    strongroom.open(other, index_key=INDEX_KEY).close()
    strongroom.open(other, index_key=INDEX_KEY, must_exist=True).close()


def test_the_asyncio_interface_uses_postgres(url: str) -> None:
    async def main() -> None:
        async with await aio.open(url, index_key=INDEX_KEY) as store:
            keys = await asyncio.gather(*(store.store(f"async {n}", bytes([n])) for n in range(50)))
            for n, key in enumerate(keys):
                assert await store.retrieve(f"async {n}", key) == bytes([n])

    asyncio.run(main())


def test_a_child_does_not_use_the_connections(url: str) -> None:
    with strongroom.open(url, index_key=INDEX_KEY) as store:
        key = store.store("forked", b"data")
        in_child(lambda: raises_forked(lambda: store.retrieve("forked", key)))
        assert store.retrieve("forked", key) == b"data"


def test_errors_show_no_password(url: str) -> None:
    for wrong in (url.replace("strongroom@", "strongroom:hunter2@"), f"{url}?password=hunter2"):
        with pytest.raises(ValueError, match="passfile") as caught:
            strongroom.open(wrong, index_key=INDEX_KEY)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="create the database"):
        strongroom.open(url.replace("/postgres", "/missing"), index_key=INDEX_KEY)
