"""Exceptions: their numbers, classes and messages."""

import errno
import inspect
import pickle
import re
import sys
from pathlib import Path

import pytest

import strongroom
from conftest import ROOT
from strongroom import Key, Strongroom, exceptions

CLASSES = {
    name: error
    for name, error in vars(exceptions).items()
    if not name.startswith("_") and inspect.isclass(error) and issubclass(error, strongroom.StrongroomError)
}


def class_name(name: str) -> str:
    """The exception of an error of the library."""
    return f"{name}Error"


def test_the_set_is_the_librarys() -> None:
    source = (ROOT / "core/src/error_code.rs").read_text()
    expected = {class_name(name): int(code) for name, code in re.findall(r"^    (\w+) = (\d+),$", source, re.MULTILINE)}
    assert len(expected) == 22
    found = {name: error.code for name, error in CLASSES.items() if name != "StrongroomError"}
    assert found == expected


def test_the_documentations_table() -> None:
    table = (ROOT / "python/docs/errors.rst").read_text()
    rows = re.findall(r"^   \* - (\d+)\n     - :exc:`~strongroom\.(\w+)`(?:, :exc:`(\w+)`)?$", table, re.MULTILINE)
    builtin = (KeyError, ValueError, TimeoutError, PermissionError, OSError)
    expected = {
        name: (error.code, next((base.__name__ for base in builtin if issubclass(error, base)), ""))
        for name, error in CLASSES.items()
        if name != "StrongroomError"
    }
    assert {name: (int(code), also) for code, name, also in rows} == expected


def test_names_and_numbers_are_given_once() -> None:
    assert sorted(CLASSES) == exceptions.__all__
    assert all(getattr(strongroom, name) is error for name, error in CLASSES.items())
    assert {error.code: error for name, error in CLASSES.items() if name != "StrongroomError"} == exceptions._BY_CODE


@pytest.mark.parametrize("error", CLASSES.values())
def test_an_exception_is_its_message(error: type[strongroom.StrongroomError]) -> None:
    assert str(error("what happened: why")) == "what happened: why"
    assert str(error()) == ""
    copy = pickle.loads(pickle.dumps(error("what happened")))
    assert (type(copy), str(copy)) == (error, "what happened")


def test_causes_are_chained(tmp_path: Path) -> None:
    with pytest.raises(strongroom.StorageError) as caught:
        strongroom.open(tmp_path / "missing" / "records.db")
    assert str(caught.value) == (
        f"input or output failed: cannot open {tmp_path}/missing: No such file or directory (os error 2)"
    )
    assert caught.value.code == 14


def test_an_os_error_has_its_number(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        strongroom.open(tmp_path / "missing" / "records.db")
    assert caught.value.errno == errno.ENOENT
    assert "(os error 2)" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).errno == errno.ENOENT
    with pytest.raises(strongroom.StorageError) as caught:
        strongroom.connect("https://host.example", token_file=tmp_path / "missing")
    assert caught.value.errno == errno.ENOENT
    found = {name: error("message").errno for name, error in CLASSES.items() if issubclass(error, OSError)}
    assert found == {
        "AccessDeniedError": errno.EACCES,
        "BusyError": errno.ETIMEDOUT,
        "StorageError": None,
        "StorageFullError": errno.ENOSPC,
    }


def test_an_error_without_its_class_is_told(store: Strongroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the interpreter, no module can be imported."""
    monkeypatch.setitem(sys.modules, "strongroom.exceptions", None)
    for id, message in [("missing", "no record"), ("\ud800", "lone surrogates")]:
        with pytest.raises(RuntimeError, match=message) as caught:
            store.retrieve(id, Key.generate())
        assert isinstance(caught.value.__cause__, ImportError)


def test_a_missing_record_is_a_missing_key(store: Strongroom) -> None:
    try:
        store.retrieve("id", Key.generate())
    except KeyError as error:
        assert str(error) == "there is no record under this id"
    else:
        pytest.fail("nothing was raised")


ID, DATA = "planted id \u00e9", b"planted data \xff"


def test_nothing_shows_secrets(store: Strongroom, path: Path) -> None:
    """No exception, no repr and no file shows an id, a key or data."""
    key, other = Key.generate(), Key.generate()
    store.store(ID, DATA, key=key)
    shown: list[str] = []
    for act in (
        lambda: store.store(ID, DATA),
        lambda: store.retrieve(ID, other),
        lambda: store.replace(ID, other, DATA),
        lambda: store.delete(ID, other),
        lambda: store.retrieve(ID + "?", key),
        lambda: store.retrieve(ID + "\ud800", key),
        lambda: store.retrieve(ID * 1000, key),
        lambda: store.store("x", DATA.decode("latin-1")),  # type: ignore[arg-type]
        lambda: store.store((ID,), DATA),  # type: ignore[arg-type]
        lambda: store.store_many([(ID, DATA), (ID, DATA)]),
        lambda: store.store_many([(ID, DATA, key)]),  # type: ignore[list-item]
        lambda: store.retrieve(ID, key.to_text()),  # type: ignore[arg-type]
        lambda: store.retrieve_into(ID, key, bytearray(1)),
        lambda: store.retrieve_many([(ID, other)]),
        lambda: store.create_record(ID),
        lambda: Key.from_text(key.to_text()[:-1]),
        lambda: Key.from_text(key.to_text() + ID),
        lambda: Key.from_bytes(key.to_bytes() + b"x"),
    ):
        with pytest.raises(Exception) as caught:
            act()
        link: BaseException | None = caught.value
        while link is not None:
            shown += [str(link), repr(link), repr(link.args), repr(vars(link))]
            link = link.__cause__ or link.__context__
    with store.create_record("new " + ID) as writer:
        writer.write(DATA)
        shown += [repr(writer), repr(store), repr(store.stats()), repr(key), str(key), repr([key])]
    with store.open_record(ID, key) as reader:
        shown += [repr(reader), repr(reader._native), repr(writer._native)]
    text = "\n".join(shown).encode(errors="surrogatepass")

    store.close()
    files = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for place in (text, files):
        for secret in (b"planted", DATA, key.to_bytes(), other.to_bytes()):
            for form in (secret, secret.hex().encode(), repr(secret)[2:-1].encode()):
                assert form not in place
        for secret_key in (key, other):
            assert secret_key.to_text()[4:40].encode() not in place
    assert b"no record under this id" in text, "nothing was searched"
