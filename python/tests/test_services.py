"""Stores on a storage service and on an encryption server."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import certificates
import strongroom
from conftest import ROOT, SIZES, cancel_at_its_end, pattern
from strongroom import IndexKey, Key, Strongroom, aio
from test_processes import in_child, raises_forked

PROGRAM = os.environ.get("STRONGROOM_PROGRAM", str(ROOT / "target" / "debug" / "strongroom"))

INDEX_KEY = IndexKey.generate()


class Service:
    """A running service: its URL and credentials."""

    def __init__(self, folder: Path, port: int, tokens: list[str]) -> None:
        self.folder = folder
        self.unix = f"unix:{folder}/socket"
        self.https = f"https://127.0.0.1:{port}"
        self.token, self.other_token = tokens

    def open(self, url: str | None = None, **arguments: Any) -> Strongroom:
        return strongroom.open(url or self.unix, **{"index_key": INDEX_KEY, "token": self.token, **arguments})

    @property
    def tls(self) -> dict[str, Any]:
        certificate = self.folder / "client.pem", self.folder / "client.key"
        return {"authorities": self.folder / "authority.pem", "client_certificate": certificate}


def require_program() -> None:
    if "STRONGROOM_PROGRAM" not in os.environ and not Path(PROGRAM).exists():
        pytest.skip("STRONGROOM_PROGRAM names no program")


@contextmanager
def serving(folder: Path, pattern: str, *arguments: str) -> Iterator[re.Match[str]]:
    """Run a service in ``folder``, and give the part of its log that says where it listens."""
    log = folder / "log"
    with log.open("wb") as file, subprocess.Popen([PROGRAM, *arguments], cwd=folder, stderr=file) as process:
        try:
            deadline = time.monotonic() + 60
            while not (found := re.search(pattern, log.read_text())):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield found
        finally:
            process.terminate()
    assert process.returncode == 0


# The services remove no expired records by themselves.
ON_REQUEST = "[purge]\ninterval_seconds = 0\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    require_program()
    folder = tmp_path_factory.mktemp("service")
    certificates.write(folder)
    new_token = [PROGRAM, "token", "new", "--scopes", "storage"]
    commands = ([*new_token, "--tokens", "tokens"], new_token)
    tokens = [subprocess.run(c, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout for c in commands]
    (folder / "purge.toml").write_text(ON_REQUEST)
    command = ["serve-storage", "--store", "served.db", "--listen", "unix:socket", "--listen", "127.0.0.1:0"]
    command += ["--tokens", "tokens", "--tls-certificate", "server.pem", "--tls-key", "server.key"]
    command += ["--tls-client-authorities", "authority.pem", "--config", "purge.toml"]
    with serving(folder, r"127\.0\.0\.1:(\d+)", *command) as found:
        yield Service(folder, int(found[1]), [token.split()[0] for token in tokens])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an encryption server: its files ``socket``, and ``token`` with all rights."""
    require_program()
    folder = tmp_path_factory.mktemp("server")
    scopes = "store,retrieve,take,erase"
    command = [PROGRAM, "token", "new", "--scopes", scopes, "--tokens", "tokens"]
    with (folder / "token").open("wb") as file:
        subprocess.run(command, cwd=folder, stdout=file, check=True)
    (folder / "purge.toml").write_text(ON_REQUEST)
    command = ["serve", "--store", "served.db", "--listen", "unix:socket", "--tokens", "tokens"]
    command += ["--config", "purge.toml"]
    with serving(folder, "unix:socket", *command):
        yield folder


@pytest.mark.parametrize("with_tls", [False, True])
def test_all_operations(service: Service, with_tls: bool) -> None:
    def opened() -> Strongroom:
        return service.open(service.https, **service.tls) if with_tls else service.open()

    with opened() as store:
        for size in SIZES:
            key = store.store("id", pattern(size))
            with pytest.raises(strongroom.AlreadyExistsError):
                store.store("id", b"data")
            assert store.retrieve("id", key) == pattern(size)
            with pytest.raises(strongroom.WrongKeyError):
                store.retrieve("id", Key.generate())
            key = store.replace("id", key, b"new")
            store.delete("id", key)
            assert "id" not in store
        keys = store.store_many([("one", b"1"), ("two", b"2")])
        assert store.retrieve_many([("two", keys[1])]) == [b"2"]
        assert store.erase("one")
        with store.create_record("long") as file:
            file.write(pattern(3_000_000))
        assert store.retrieve_range("long", file.key, 1_000_000, 1_000_010) == pattern(1_000_010)[-10:]
        with pytest.raises(ZeroDivisionError), store.create_record("dropped") as dropped:
            dropped.write(pattern(3_000_000))
            _ = 1 / 0
        assert "dropped" not in store
    with pytest.raises(strongroom.ClosedError):
        store.retrieve("two", keys[1])

    with opened() as store:
        reader = store.open_record("long", file.key)
        assert reader.read() == pattern(3_000_000)
        with store.replace_record("long", file.key) as newer:
            newer.write(b"short")
        assert store.retrieve("long", newer.key) == b"short"
        reader.seek(0)
        with pytest.raises(strongroom.ConflictError):
            reader.read()
        store.delete("long", newer.key)
        store.delete("two", keys[1])
        assert store.stats().records == 0


def test_index_keys(service: Service, tmp_path: Path) -> None:
    service.open().close()
    with pytest.raises(strongroom.IndexKeyMismatchError):
        service.open(index_key=IndexKey.generate())
    with pytest.raises(strongroom.InvalidArgumentError, match="index key"):
        service.open(index_key=None)
    file = tmp_path / "key"
    file.write_text(INDEX_KEY.to_text())
    service.open(index_key=None, index_key_file=file).close()


def test_tokens(service: Service, tmp_path: Path) -> None:
    for token in (None, service.other_token):
        with pytest.raises(strongroom.AccessDeniedError, match="token") as caught:
            service.open(token=token)
        assert caught.value.code == 21
        assert isinstance(caught.value, PermissionError)
        assert service.other_token not in str(caught.value)
    file = tmp_path / "token"
    file.write_text(service.token + "\n")
    file.chmod(0o600)
    service.open(token=None, token_file=file).close()
    with pytest.raises(strongroom.InvalidArgumentError, match="not both"):
        service.open(token_file=file)
    for bad in ("", "two lines\n", "\ud800", service.token[:-1]):
        with pytest.raises(strongroom.InvalidArgumentError, match="token"):
            service.open(token=bad)
    # A key instead of a token is reported, and not sent.
    for key, kind in ((INDEX_KEY, "an index key"), (Key.generate(), "a record key")):
        with pytest.raises(strongroom.InvalidArgumentError, match=f"not a token but {kind}") as refused:
            service.open("http://127.0.0.1:1", token=key.to_text())
        assert key.to_text()[5:20] not in str(refused.value)
    file.write_text(f"\ufeff {service.token}\r\n")
    file.chmod(0o600)
    service.open(token=None, token_file=file).close()
    with pytest.raises(OSError, match="token"):
        service.open(token=None, token_file=tmp_path / "none")


def test_certificates(service: Service, tmp_path: Path) -> None:
    certificates.write(tmp_path)
    without = {"authorities": service.folder / "authority.pem"}
    theirs = {**service.tls, "client_certificate": (tmp_path / "client.pem", tmp_path / "client.key")}
    for wrong in (without, theirs):
        with pytest.raises(strongroom.AccessDeniedError, match="client's certificate"):
            service.open(service.https, timeout=1, **wrong)
    for wrong in ({}, {**service.tls, "authorities": tmp_path / "authority.pem"}):
        with pytest.raises(strongroom.StorageError):
            service.open(service.https, timeout=1, **wrong)
    with pytest.raises(strongroom.InvalidArgumentError, match="https"):
        service.open(**service.tls)
    service.open(service.https, **service.tls).close()


def test_contradicting_options(service: Service, path: Path) -> None:
    wrong: list[dict[str, Any]] = [{"read_only": True}, {"durability": "relaxed"}]
    wrong += [{"timeout": seconds} for seconds in (0, -1.0, float("nan"))]
    for argument in wrong:
        with pytest.raises(strongroom.InvalidArgumentError):
            service.open(**argument)
    for seconds in (1e9, 1e300, float("inf")):
        service.open(timeout=seconds).close()
    service.open(must_exist=True).close()
    for url in ("http://192.0.2.1:8421", "https://", "unix:", f"{service.https}/path", "http://127.0.0.1:99999"):
        with pytest.raises(strongroom.InvalidArgumentError):
            service.open(url)
    wrong = [
        {"token": "srt1"},
        {"token_file": "token"},
        {"timeout": 1},
        {"authorities": "authority.pem"},
        {"revocations": "x"},
    ]
    for argument in [*wrong, {"client_certificate": ("client.pem", "client.key")}]:
        with pytest.raises(strongroom.InvalidArgumentError, match="URL of a service"):
            strongroom.open(path, **argument)
    assert not path.exists()


def test_several_services(service: Service, tmp_path: Path) -> None:
    for n, url in enumerate((f"unix:{tmp_path}/none,{service.unix}", f"cluster:{service.unix}?names=a.example&zone=b")):
        with service.open(url) as store:
            key = store.store(f"of several {n}", b"data")
            assert store.retrieve(f"of several {n}", key) == b"data"
            store.erase(f"of several {n}")
    for url, reason in ((f"cluster:{service.unix}", "names"), (f"cluster:{service.unix}?names=a b", "trusted name")):
        with pytest.raises(strongroom.InvalidArgumentError, match=reason):
            service.open(url)


def test_an_unreachable_service_fails_in_time(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the default of 30 seconds."""
    start = time.monotonic()
    with pytest.raises(strongroom.StorageError):
        service.open(f"unix:{tmp_path}/none", timeout=0.3)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("silent")
        silent.listen()
        with pytest.raises(TimeoutError):
            service.open("unix:silent", timeout=0.3)
    assert time.monotonic() - start < 20


def test_a_forked_child_is_refused_and_the_parent_unharmed(service: Service) -> None:
    with service.open() as store:
        key = store.store("id", pattern(3_000_000))
        reader, writer = store.open_record("id", key), store.create_record("new")
        reader.read(10)
        writer.write(pattern(3_000_000))

        def child() -> None:
            raises_forked(lambda: store.retrieve("id", key))
            raises_forked(lambda: store.store("other", b"data"))
            raises_forked(reader.read)
            raises_forked(writer.finish)
            raises_forked(store.close)
            with service.open() as own:  # a new connection
                assert own.retrieve("id", key) == pattern(3_000_000)

        in_child(child)
        assert reader.read() == pattern(3_000_000)[10:]
        assert store.retrieve("new", writer.finish()) == pattern(3_000_000)
        assert store.erase("id")
        assert store.erase("new")


def test_asyncio(service: Service) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"index_key": INDEX_KEY, "token": service.token, "timeout": 60.0}
        async with await aio.open(service.https, **options, **service.tls) as store:
            keys = await asyncio.gather(*(store.store(f"id-{n}", pattern(n)) for n in range(50)))
            found = await asyncio.gather(*(store.retrieve(f"id-{n}", key) for n, key in enumerate(keys)))
            assert found == [pattern(n) for n in range(50)]
            for n in range(50):
                await store.erase(f"id-{n}")

    asyncio.run(main())


def test_an_encryption_server(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(server)
    with strongroom.connect("unix:socket", token_file="token", timeout=60) as store:
        key = store.store("id", b"data")
        assert store.retrieve("id", key) == b"data"
        assert "id" in store
        with pytest.raises(strongroom.NotFoundError):
            store.retrieve("id", Key.generate())
        with pytest.raises(strongroom.UnsupportedError):
            store.maintain()
        store.delete("id", key)
    with pytest.raises(strongroom.ClosedError):
        store.retrieve("id", key)
    token = Path("token").read_text().strip()
    with strongroom.connect("unix:socket", token=token) as store:
        assert store.stats().records == 0
    with strongroom.connect("unix:socket") as store, pytest.raises(strongroom.AccessDeniedError, match="token"):
        store.stats()


def test_an_encryption_server_that_is_not_there(tmp_path: Path) -> None:
    with strongroom.connect(f"unix:{tmp_path}/none", timeout=0.3) as store:
        with pytest.raises(strongroom.StorageError):
            store.stats()
        with pytest.raises(strongroom.StorageError):
            store.store("id", b"data")


def test_what_connect_refuses(tmp_path: Path) -> None:
    connect: Any = strongroom.connect
    urls = ["", "records.db", ":memory:", "unix:", "https://", "http://192.0.2.1:8420", "http://127.0.0.1:99999"]
    for url in [*urls, "https://a.example/path", "http://127.0.0.1:1\0"]:
        with pytest.raises(strongroom.InvalidArgumentError):
            connect(url)
    wrong: list[dict[str, Any]] = [{"timeout": seconds} for seconds in (0, -1.0, float("nan"))]
    wrong += [{"token": "srt1"}, {"token": IndexKey.generate().to_text()}, {"authorities": tmp_path / "authority.pem"}]
    for argument in wrong:
        with pytest.raises(strongroom.InvalidArgumentError):
            connect("http://127.0.0.1:1", **argument)
    with pytest.raises(strongroom.StorageError, match="token"):
        connect("http://127.0.0.1:1", token_file=tmp_path / "none")
    # The index key is the server's.
    wrong = [{"index_key": INDEX_KEY}, {"must_exist": True}, {"durability": "full"}]
    for argument in wrong:
        with pytest.raises(TypeError):
            connect("http://127.0.0.1:1", **argument)
    for value in (None, b"http://127.0.0.1:1"):
        with pytest.raises(TypeError):
            connect(value)


@pytest.fixture(params=["server", "service"])
def remote(request: pytest.FixtureRequest) -> Iterator[Strongroom]:
    """A store on an encryption server, and one on a storage service."""
    if request.param == "service":
        with request.getfixturevalue("service").open() as store:
            yield store
    else:
        server = request.getfixturevalue("server")
        with strongroom.connect(f"unix:{server}/socket", token_file=server / "token") as store:
            yield store


def test_many_records_under_keys_of_the_caller(remote: Strongroom) -> None:
    store = remote
    items = [("one", b"1"), ("two", b"2")]
    keys = [Key.generate(), Key.generate()]
    for wrong in ([], keys[:1], [*keys, Key.generate()]):
        with pytest.raises(strongroom.InvalidArgumentError):
            store.store_many(items, keys=wrong)
        with pytest.raises(strongroom.InvalidArgumentError):
            store.store_many(iter(items), keys=iter(wrong))
    assert store.stats().records == 0
    with pytest.raises(TypeError):
        store.store_many(items, keys=[keys[0], b"key"])  # type: ignore[list-item]
    for _ in range(2):
        assert store.store_many(iter(items), keys=iter(keys)) == keys
    assert store.retrieve_many([("one", keys[0]), ("two", keys[1])]) == [b"1", b"2"]
    with pytest.raises(strongroom.AlreadyExistsError):
        store.store_many([("one", b"other"), ("three", b"3")], keys=keys)
    assert "three" not in store
    assert store.store_many([], keys=[]) == []
    for id, key in zip(("one", "two"), keys, strict=True):
        store.delete(id, key)


def test_expiry(remote: Strongroom) -> None:
    store = remote
    keys = store.store_many([("one", b"1"), ("two", b"2")], expires_in=5)
    with store.create_record("long", expires_at=time.time() + 5) as file:
        file.write(pattern(3_000_000))
    lasting = store.store("lasting", b"data", expires_in=3600)
    with pytest.raises(strongroom.InvalidArgumentError):
        store.store("late", b"data", expires_at=time.time() - 60)
    deadline = time.monotonic() + 60
    while store.stats().expired < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for id, key in {"one": keys[0], "two": keys[1], "long": file.key}.items():
        with pytest.raises(strongroom.ExpiredError):
            store.retrieve(id, key)
        assert id not in store
    store.delete("one", keys[0])
    assert store.purge(1) == store.purge() == 1
    assert store.retrieve("lasting", lasting) == b"data"
    store.delete("lasting", lasting)
    assert store.stats().records == store.purge() == 0


def test_take_rekey_and_namespaces(remote: Strongroom) -> None:
    data = pattern(3_000_000)
    store = remote.namespace("one")
    key = store.rekey("id", store.store("id", data))
    assert "id" not in remote
    with pytest.raises(strongroom.NotFoundError):
        remote.take("id", key)
    given = Key.generate()
    for _ in range(2):
        assert store.rekey("id", key, new_key=given, expires_in=3600) == given
    assert store.take("id", given) == data
    with pytest.raises(strongroom.NotFoundError):
        store.take("id", given)

    key = store.store("id", data)
    with store.take_record("id", key) as file:
        assert "id" not in store
        assert file.read(1_000_000) == data[:1_000_000]
        assert file.read() == data[1_000_000:]
        assert file.read() == b""
    deadline = time.monotonic() + 60
    while store.stats().records > 0:  # of the whole store; a server removes the record after its answer
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert store.purge() == 0


@contextmanager
def announcing(length: int, data: bytes = pattern(10), *, is_silent: bool = False) -> Iterator[str]:
    """An encryption server that announces records of this length, and sends only ``data`` of each: its URL. Then it
    ends the connection, or ``is_silent`` until the client does."""

    class Cut(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(length))
            self.send_header("strongroom-request-id", "1")
            self.end_headers()
            with suppress(ConnectionError):  # of a client that read enough
                self.wfile.write(data)
                if is_silent:
                    self.connection.settimeout(60)
                    self.connection.recv(1)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_announced_length_needs_no_memory() -> None:
    """Only data that arrives does."""
    resource = pytest.importorskip("resource")

    def peak() -> int:
        used: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used << 10

    length, before = 1 << 30, peak()
    with announcing(length) as url, strongroom.connect(url) as store:
        for open_record in (store.open_record, store.take_record):
            with open_record("id", Key.generate()) as file:
                assert file.read(length) == pattern(10)
                with pytest.raises(strongroom.StorageError):
                    file.read(length)
    assert peak() - before < length // 2


@pytest.mark.parametrize(("length", "error"), [(1 << 62, MemoryError), ((1 << 63) + 5, strongroom.TooLargeError)])
def test_an_announced_length_that_no_computer_has(length: int, error: type[Exception]) -> None:
    """It loses no data: a server sends a taken record once."""
    key = Key.generate()

    async def read(url: str) -> None:
        async with aio.connect(url) as store, store.open_record("id", key) as file:
            await file.read()

    with announcing(length) as url, strongroom.connect(url) as store:
        for open_record in (store.open_record, store.take_record):
            reads: list[Callable[[strongroom.RecordReader], object]] = [
                lambda file: file.read(),
                lambda file: file.readall(),
            ]
            for call in reads:
                with open_record("id", key) as file:
                    with pytest.raises(error):
                        call(file)
                    with pytest.raises(MemoryError):
                        file.read(2**63 - 1)
                    with pytest.raises(BufferError):
                        file.readinto(b"read-only")
                    assert file.read(100) == pattern(10)
        with pytest.raises(error):
            asyncio.run(read(url))


#: Memory for less than one copy of the data, then for one but not two.
LITTLE_MEMORY = """
import resource, strongroom

def limit(room):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room if room else -1, -1))

data = bytes(32 << 20)
with strongroom.connect("unix:socket", token_file="token") as store:
    for room in (10, 25):
        for name in ("read", "readline"):
            with store.take_record("id", store.store("id", data)) as file:
                start = file.read(1000)
                limit(room << 20)
                try:
                    getattr(file, name)()
                except MemoryError:
                    assert file.tell() == 1000
                else:
                    raise AssertionError(name)
                buffer = bytearray(1000)
                assert file.readinto(buffer) == 1000
                start += buffer + file.readline(1000) + file.read(1000)
                limit(0)
                assert file.tell() == len(start) == 4000
                assert start + file.read() == data
    with store.take_record("id", store.store("id", data)) as file:
        limit(55 << 20)
        start = file.read()
        limit(0)
        assert start == data
"""


@pytest.mark.skipif(sys.platform != "linux", reason="its limit of memory")
def test_a_lack_of_memory_loses_nothing_of_a_taken_record(server: Path) -> None:
    """A server sends it once."""
    # No arenas of threads, and freed memory returns to the system.
    env = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    subprocess.run([sys.executable, "-c", LITTLE_MEMORY], cwd=server, env=env, check=True)


def test_the_failure_of_a_taken_record_remains() -> None:
    """A server sends it once: each later read says why it has no more data."""

    async def iterate(url: str, pieces: list[bytes]) -> None:
        async with aio.connect(url) as store, store.take_record("id", Key.generate()) as file:
            async for piece in file:
                pieces.append(piece)

    pieces = list[bytes]()
    with announcing(100) as url:
        with strongroom.connect(url) as store:
            for read in ("read", "read1", "readinto"):
                with store.take_record("id", Key.generate()) as file:
                    argument = bytearray(100) if read == "readinto" else 100
                    assert getattr(file, read)(argument) in (10, pattern(10))
                    for _ in range(2):
                        with pytest.raises(strongroom.StorageError):
                            getattr(file, read)(argument)
        with pytest.raises(strongroom.StorageError):
            asyncio.run(iterate(url, pieces))
        assert pieces == [pattern(10)]


@pytest.mark.parametrize("length", [100, 32 << 20])
def test_a_failed_read_keeps_the_data_of_a_taken_record(length: int) -> None:
    data = pattern(10)
    with announcing(length) as url, strongroom.connect(url) as store:
        for names in (["read"], ["readall"], ["readline"], ["readlines"], ["readline", "read", "readline", "readall"]):
            with store.take_record("id", Key.generate()) as file:
                for name in names:
                    with pytest.raises(strongroom.StorageError):
                        getattr(file, name)()
                    assert file.tell() == 0
                assert file.read(4) == data[:4]
                with pytest.raises(strongroom.StorageError):
                    file.read()
                assert file.tell() == 4
                assert (file.seek(length), file.read(), file.seek(4)) == (length, b"", 4)
                buffer = bytearray(100)
                assert file.readinto(buffer) == 6
                assert buffer[:6] == data[4:]
                with pytest.raises(strongroom.StorageError):
                    file.read(1)


@pytest.mark.skipif(sys.platform != "linux", reason="its count of memory")
def test_a_failed_line_takes_no_memory_if_the_record_can_be_read_again() -> None:
    def used() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    line, sizes = bytes(16 << 20), []
    with announcing(1 << 30, line) as url, strongroom.connect(url) as store, ExitStack() as files:
        for _ in range(8):
            file = files.enter_context(store.open_record("id", Key.generate()))
            with pytest.raises(strongroom.StorageError):
                file.readline()
            sizes.append(used())
        assert sizes[-1] - sizes[1] < 3 * len(line)  # half of six lines: freed memory may remain with the process


def test_padding(remote: Strongroom) -> None:
    data = pattern(1000)
    before = remote.stats().bytes
    for store, pad in ((remote, True), (remote.padded(), False)):
        keys = [store.store("one", data, pad=pad), *store.store_many([("two", data)], pad=pad)]
        with store.create_record("three", pad=pad) as file:
            file.write(data)
        keys.append(file.key)
        keys[0] = store.rekey("one", keys[0])
        assert store.stats().bytes - before == 3 * (12 + 56 + 1024 + 16)
        for id, key in zip(["one", "two", "three"], keys, strict=True):
            assert store.take(id, key) == data


def test_a_rotation_on_a_storage_service(service: Service) -> None:
    new_key = IndexKey.generate()
    with service.open() as store:
        key = store.store("id", b"data")
    with service.open(index_key=new_key, previous_index_key=INDEX_KEY) as store:
        store.begin_rotation()
        assert len(store.rotation() or []) == 1
        assert store.retrieve("id", key) == b"data"
        store.finish_rotation()
    # Other tests use the earlier key.
    with service.open(previous_index_key=new_key) as store:
        store.begin_rotation()
        (locator,) = store.rotation() or []
        assert store.erase_unrotated(locator)
        store.finish_rotation()
    with service.open() as store:
        assert store.stats().records == 0


def test_an_encryption_server_has_its_own_index_key(server: Path) -> None:
    with strongroom.connect(f"unix:{server}/socket", token_file=server / "token") as store:
        calls: list[Callable[[], object]] = [
            store.begin_rotation,
            store.rotation,
            lambda: store.erase_unrotated("01" * 32),
            store.finish_rotation,
        ]
        for call in calls:
            with pytest.raises(strongroom.UnsupportedError):
                call()


def test_a_token_reaches_only_its_namespace(server: Path) -> None:
    command = [PROGRAM, "token", "new", "--scopes", "store,retrieve", "--namespace", "one", "--tokens", "bound-tokens"]
    token = subprocess.run(command, cwd=server, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    serve = ["serve", "--store", "bound.db", "--listen", "unix:bound-socket", "--tokens", "bound-tokens"]
    with (
        serving(server, "unix:bound-socket", *serve),
        strongroom.connect(f"unix:{server}/bound-socket", token=token) as store,
    ):
        key = store.store("id", b"data")
        assert store.namespace("one").retrieve("id", key) == b"data", "its namespace is the default one"
        calls: list[Callable[[], object]] = [
            lambda: store.namespace("two").store("id", b"data"),
            lambda: store.namespace("two").retrieve("id", key),
            store.stats,
        ]
        for call in calls:
            with pytest.raises(strongroom.AccessDeniedError):
                call()


def test_asyncio_on_an_encryption_server(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with await aio.connect(f"unix:{server}/socket", token_file=server / "token", timeout=60.0) as store:
            keys = await asyncio.gather(*(store.store(f"id-{n}", pattern(n)) for n in range(20)))
            found = await asyncio.gather(*(store.retrieve(f"id-{n}", key) for n, key in enumerate(keys)))
            assert found == [pattern(n) for n in range(20)]
            for n in range(20):
                assert await store.erase(f"id-{n}")
            given = [Key.generate()]
            with pytest.raises(strongroom.InvalidArgumentError):
                await store.store_many([("one", b"1"), ("two", b"2")], keys=given)
            assert await store.store_many([("one", b"1")], keys=given) == given
            await store.delete("one", given[0])
            key = await store.store("once", pattern(3_000_000))
            async with store.open_record("once", key) as file:
                await cancel_at_its_end(file.read(2_000_000), file._file, "read", monkeypatch)
                assert await file.read() == pattern(3_000_000)
            async with store.take_record("once", key) as file:
                assert await file.read(10) == pattern(10)
                for size in (10, 1_000_000):
                    await cancel_at_its_end(file.read(size), file._file, "read", monkeypatch)
                await cancel_at_its_end(file.seek(5), file._file, "seek", monkeypatch)
                assert await file.read(4) == pattern(14)[10:]
                await cancel_at_its_end(file.read(2_000_000), file._file, "read", monkeypatch)
                assert await file.read() == pattern(3_000_000)[14:]
                await file.seek(10)
                with pytest.raises(strongroom.UnsupportedError, match="once, in order"):
                    await file.read(10)
        with pytest.raises(strongroom.ClosedError):
            await store.stats()
        with pytest.raises(strongroom.InvalidArgumentError):
            await aio.connect("records.db")

    asyncio.run(main())
