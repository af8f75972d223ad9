"""A second copy of SQLite in the process: Python's own module is one."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import strongroom

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux lists what is mapped")


def look(database: sqlite3.Connection) -> int:
    (count,) = database.execute("SELECT count(*) FROM record").fetchone()
    return int(count)


@pytest.fixture
def closed_store(path: Path) -> Path:
    with strongroom.open(path) as store:
        store.store("id", b"data")
    return path


def test_a_store_that_a_second_copy_has_open_is_refused(closed_store: Path) -> None:
    database = sqlite3.connect(closed_store)
    assert look(database) == 1
    with pytest.raises(strongroom.InvalidArgumentError, match="another copy of SQLite"):
        strongroom.open(closed_store)
    assert look(database) == 1, "the refusal did no harm"
    database.close()
    with strongroom.open(closed_store) as store:
        assert "id" in store


def test_by_another_path(closed_store: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    database = sqlite3.connect(link / closed_store.name)
    look(database)
    for path in (closed_store, link / closed_store.name):
        with pytest.raises(strongroom.InvalidArgumentError, match="another copy of SQLite"):
            strongroom.open(path)
    database.close()


def test_a_second_copy_that_comes_later_is_found_at_the_next_opening(path: Path) -> None:
    store = strongroom.open(path)
    store.store("id", b"data")
    with strongroom.open(path) as again:
        assert "id" in again, "a second handle is no second copy"
    database = sqlite3.connect(path)
    assert look(database) == 1
    with pytest.raises(strongroom.InvalidArgumentError, match="another copy of SQLite"):
        strongroom.open(path)
    database.close()  # removes the log, because both copies share the locks of the process
    with pytest.raises(strongroom.StorageError, match="was removed"):
        store.close()


def test_a_closed_store_is_no_second_copy(closed_store: Path) -> None:
    store = strongroom.open(closed_store)
    store.close()
    database = sqlite3.connect(closed_store)
    look(database)
    with pytest.raises(strongroom.InvalidArgumentError, match="another copy of SQLite"):
        strongroom.open(closed_store)
    database.close()
    del store


def test_other_databases_and_other_processes_do_not_matter(closed_store: Path, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("CREATE TABLE record (id)")
    look(other)
    script = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]);"
        "database.execute('SELECT count(*) FROM record').fetchone(); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(closed_store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with strongroom.open(closed_store) as store:
            assert "id" in store
        process.communicate("\n")
    assert process.returncode == 0
    other.close()
