"""Records in wrappers of the standard library, which the type checkers accept, too: mypy and pyright read this file."""

import gzip
import io
import shutil
import tarfile
import zipfile

from conftest import pattern
from strongroom import Strongroom


def test_standard_library_modules(store: Strongroom) -> None:
    with store.create_record("zip") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", pattern(100_000))
        archive.writestr("b.txt", b"b")
    with store.open_record("zip", file.key) as reader, zipfile.ZipFile(io.BufferedReader(reader)) as archive:
        assert archive.read("a.txt") == pattern(100_000)
        assert archive.testzip() is None

    with store.create_record("tar") as file, tarfile.open(fileobj=file, mode="w|") as tar:
        info = tarfile.TarInfo("a.txt")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(pattern(100_000)))
    with store.open_record("tar", file.key) as reader, tarfile.open(fileobj=reader) as tar:
        member = tar.extractfile("a.txt")
        assert member is not None
        assert member.read() == pattern(100_000)

    copy = io.BytesIO()
    with store.open_record("tar", file.key) as reader:
        shutil.copyfileobj(reader, copy)
    with store.open_record("tar", file.key) as reader:
        assert copy.getvalue() == reader.read()


def test_lines_by_wrappers(store: Strongroom) -> None:
    with store.create_record("csv") as file:
        text = io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8")
        for n in range(10_000):
            text.write(f"{n},é\n")
        text.detach().detach()
    reader = store.open_record("csv", file.key)
    with io.TextIOWrapper(io.BufferedReader(reader), encoding="utf-8") as lines:
        assert list(lines) == [f"{n},é\n" for n in range(10_000)]
    with io.TextIOWrapper(store.open_record("csv", file.key), encoding="utf-8") as lines:
        assert list(lines) == [f"{n},é\n" for n in range(10_000)]

    with store.create_record("text") as file:
        line = io.TextIOWrapper(file, encoding="utf-8")
        line.write("é\n")
        line.detach()
    assert store.retrieve("text", file.key) == "é\n".encode()


def test_a_record_has_no_file_name(store: Strongroom) -> None:
    with store.create_record("gzip") as file, gzip.GzipFile(fileobj=file, mode="wb") as compressed:
        assert file.name is None
        compressed.write(pattern(100_000))
    with store.open_record("gzip", file.key) as reader, gzip.GzipFile(fileobj=reader) as compressed:
        assert reader.name is None
        assert compressed.read() == pattern(100_000)

    with store.create_record("zip") as file, zipfile.ZipFile(file, "w") as archive:
        assert archive.filename is None
    with store.create_record("tar") as file, tarfile.open(fileobj=file, mode="w|") as tar:
        assert not tar.name
    with store.open_record("tar", file.key) as reader, tarfile.open(fileobj=reader) as tar:
        assert tar.name is None
