"""The recipe for a server that forks its workers, with the real server. Those of frameworks are run with the pages."""

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

import strongroom
from conftest import ROOT
from strongroom import Key

PAGE = ROOT / "python" / "docs" / "workers.rst"
DEADLINE = 60


def write_recipe(folder: Path) -> None:
    """Write the files that the page shows."""
    blocks = re.findall(
        r"^\.\. code-block:: python\n   :caption: (\S+)\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.MULTILINE
    )
    assert [name for name, _ in blocks] == ["gunicorn.conf.py", "records.py", "application.py"]
    for name, text in blocks:
        (folder / name).write_text(re.sub(r"^   ", "", text, flags=re.MULTILINE))


@contextlib.contextmanager
def gunicorn(folder: Path) -> Iterator[Path]:
    """Run the application with four workers. Yields their log."""
    log = folder / "log"
    command = [sys.executable, "-m", "gunicorn", "--workers", "4", "--bind", "127.0.0.1:0", "--no-control-socket"]
    with log.open("wb") as output:
        server = subprocess.Popen([*command, "application"], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield log
            server.send_signal(signal.SIGTERM)
            assert server.wait(DEADLINE) == 0, log.read_text()
        finally:
            server.kill()
            server.wait(DEADLINE)


def port(log: Path) -> int:
    end = time.monotonic() + DEADLINE
    while True:
        text = log.read_text()
        if (found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", text)) and text.count("Booting worker") == 4:
            return int(found[1])
        assert time.monotonic() < end, text
        time.sleep(0.02)


def post(at: int) -> tuple[str, Key]:
    connection = HTTPConnection("127.0.0.1", at, timeout=DEADLINE)
    connection.request("POST", "/")
    answer = connection.getresponse()
    process, key = answer.read().decode().split()
    connection.close()
    assert answer.status == 201
    return process, Key.from_text(key)


@pytest.mark.parametrize("preload", [True, False])
def test_workers_of_gunicorn_share_a_database(tmp_path: Path, preload: bool) -> None:
    write_recipe(tmp_path)
    config = tmp_path / "gunicorn.conf.py"
    assert "preload_app = True" in config.read_text()
    config.write_text(config.read_text().replace("preload_app = True", f"preload_app = {preload}"))
    with gunicorn(tmp_path) as log:
        at, processes, count = port(log), set[str](), 0
        end = time.monotonic() + DEADLINE
        while len(processes) < 2:  # any worker may answer
            processes.add(post(at)[0])
            count += 1
            assert time.monotonic() < end
    with strongroom.open(tmp_path / "records.db") as store:
        assert store.stats().records == count
        assert store.verify().damage == []


def test_a_store_that_is_opened_before_the_fork_is_refused(tmp_path: Path) -> None:
    """The recipe is needed: without it, no worker has a store."""
    write_recipe(tmp_path)
    (tmp_path / "gunicorn.conf.py").write_text("preload_app = True\n")
    application = tmp_path / "application.py"
    application.write_text(
        application.read_text().replace("import records\n", "import records\nrecords.open_store()\n", 1)
    )
    with gunicorn(tmp_path) as log:
        connection = HTTPConnection("127.0.0.1", port(log), timeout=DEADLINE)
        connection.request("POST", "/")
        assert connection.getresponse().status == 500
        connection.close()
        assert "ForkedError" in log.read_text()
