"""Keyrings: the same verbs as in Rust."""

from pathlib import Path

import pytest

import strongroom
from strongroom import Key, Keyring


@pytest.fixture
def identity(tmp_path: Path) -> str:
    """Make the keyring ``keys``, and return what opens it."""
    identity, recipient = Keyring.generate_identity()
    Keyring.create(tmp_path / "keys", recipients=[recipient])
    return identity


def test_keys_come_back(tmp_path: Path, identity: str) -> None:
    keyring = Keyring.open(tmp_path / "keys", identity=identity)
    one, two, three = Key.generate(), Key.generate(), Key.generate()
    keyring.insert("one", one)
    keyring.insert(b"one", two, namespace="tenant")
    keyring.insert_many([("many", three), (b"\xff", one)])
    again = Keyring.open(str(tmp_path / "keys"), identity=identity)
    assert again.get("one") == one
    assert again.get("one", namespace=b"tenant") == two
    assert again.get("two") is None
    assert again.ids() == [b"many", b"one", b"\xff"]
    assert again.ids(namespace="tenant") == [b"one"]
    assert again.export() == [(b"many", three), (b"one", one), (b"\xff", one)]
    assert len(again) == 4
    assert again.remove("many")
    assert not again.remove("many")
    assert len(keyring) == 4, "a handle shows the keys of its own last change"
    keyring.insert("five", one)
    assert sorted(keyring.ids()) == [b"five", b"one", b"\xff"]


def test_earlier_keys_remain(tmp_path: Path, identity: str) -> None:
    keyring = Keyring.open(tmp_path / "keys", identity=identity)
    old, new = Key.generate(), Key.generate()
    keyring.insert("id", old)
    keyring.insert("id", new)
    assert keyring.get("id") == new
    assert keyring.keys("id") == [new, old]
    assert keyring.keys("other") == []


def test_a_record_is_found_by_its_kept_key(tmp_path: Path, identity: str) -> None:
    keyring = Keyring.open(tmp_path / "keys", identity=identity)
    with strongroom.open(tmp_path / "records.db") as store:
        key = Key.generate()
        keyring.insert("report", key)
        store.store("report", b"scanned pages", key=key)
        kept = keyring.get("report")
        assert kept is not None
        assert store.retrieve("report", kept) == b"scanned pages"


def test_secrets_are_checked(tmp_path: Path, identity: str) -> None:
    other, recipient = Keyring.generate_identity()
    path = tmp_path / "keys"
    with pytest.raises(strongroom.AccessDeniedError):
        Keyring.open(path, identity=other)
    with pytest.raises(strongroom.InvalidArgumentError):
        Keyring.open(path)
    with pytest.raises(strongroom.InvalidArgumentError):
        Keyring.open(path, identity=identity, passphrase="both")
    with pytest.raises(strongroom.InvalidArgumentError):
        Keyring.create(path, recipients=[recipient])
    with pytest.raises(strongroom.InvalidArgumentError):
        Keyring.create(tmp_path / "new", recipients=[])
    with pytest.raises(TypeError, match="a list of recipients is needed, not 'str'"):
        Keyring.create(tmp_path / "new", recipients=recipient)
    with pytest.raises(strongroom.InvalidArgumentError) as caught:
        Keyring.open(path, identity=f"{identity[:-3]}x")
    assert "SECRET-KEY-1" + identity.split("SECRET-KEY-1")[1][:8] not in str(caught.value)
    file = tmp_path / "me.age"
    file.write_text(identity)
    file.chmod(0o600)
    keyring = Keyring.open(path, identity_file=file)
    assert repr(keyring) == "Keyring(...)"
    with pytest.raises(strongroom.InvalidIdError):
        keyring.insert("", Key.generate())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(strongroom.CorruptError):
        Keyring.open(path, identity=identity)
    path.write_bytes(b"SQLite format 3")
    with pytest.raises(strongroom.InvalidArgumentError):
        Keyring.open(path, identity=identity)


def test_rotation_to_a_passphrase(tmp_path: Path, identity: str) -> None:
    path = tmp_path / "keys"
    keyring = Keyring.open(path, identity=identity)
    key = Key.generate()
    keyring.insert("id", key)
    keyring.rotate(passphrase="correct horse")
    with pytest.raises(strongroom.AccessDeniedError):
        Keyring.open(path, identity=identity)
    assert Keyring.open(path, passphrase="correct horse").get("id") == key
