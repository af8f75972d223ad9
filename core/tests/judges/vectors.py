"""Checks every value of docs/vectors.json: `python vectors.py vectors.json`.

Then checks itself: each altered value must be detected.
"""

import copy
import hashlib
import json
import sys
from typing import Any

import strongroom_format as f
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag


def literal(value: Any) -> bytes:
    if isinstance(value, str):
        return bytes.fromhex(value)
    assert value["pattern"] == "i % 251"
    return f.pattern(value["len"])


def assert_is(found: bytes, value: Any) -> None:
    if isinstance(value, str):
        assert found == bytes.fromhex(value)
    else:
        assert (hashlib.sha512(found).hexdigest(), len(found)) == (value["sha512"], value["len"])


def check_record(vector: dict[str, Any]) -> bytes:
    """The record, after it and all intermediate values are verified."""
    index_key, record_key = bytes.fromhex(vector["index_key"]), bytes.fromhex(vector["record_key"])
    namespace, id, salt = (literal(vector[name]) for name in ("namespace", "id", "salt"))
    expires_at, padded, data = vector["expires_at"], vector["padded"], literal(vector["data"])
    header = f.header(expires_at, padded)
    context = f.context(header, namespace, id)
    if "id_text" in vector:
        assert vector["id_text"].encode() == id
    for kind, key, text in [
        ("srx", index_key, vector["index_key_text"]),
        ("srk", record_key, vector["record_key_text"]),
    ]:
        assert f.key_to_text(kind, key) == text
        assert f.key_from_text(kind, text) == key
    assert_is(header, vector["header"])
    assert_is(context, vector["context"])
    names = ["aead_key", "base_nonce", "commitment"]
    for name, value in zip(names, f.derive(record_key, salt, context), strict=True):
        assert_is(value, vector[name])
    assert_is(f.locator_key(index_key), vector["locator_key"])
    assert_is(f.locator(index_key, vector["generation"], namespace, id), vector["locator"])
    assert_is(f.check_value(index_key), vector["check_value"])
    record = f.seal(record_key, namespace, id, salt, expires_at, padded, data)
    assert_is(record, vector["record"])
    assert f.open_record(record_key, namespace, id, record) == data
    decryptor = Cobblestone256Decryptor(record_key, context)
    plaintext = decryptor.update(record[12:]) + decryptor.finalize()
    assert (f.unpad(plaintext) if padded else plaintext) == data
    return record


def invalid_record(vector: dict[str, Any], records: dict[str, bytes]) -> bytes:
    parts = [vector["record"]] if isinstance(vector["record"], str) else vector["record"]
    return b"".join(
        bytes.fromhex(part) if isinstance(part, str) else records[part["of"]][part["from"] : part["to"]]
        for part in parts
    )


def check_invalid(vector: dict[str, Any], records: dict[str, bytes]) -> None:
    record = invalid_record(vector, records)
    record_key, id = bytes.fromhex(vector["record_key"]), bytes.fromhex(vector["id"])
    try:
        f.open_record(record_key, b"", id, record)
    except f.Refused as error:
        assert str(error) == vector["error"], f"{error} in place of {vector['error']}"
    else:
        raise AssertionError("it opens")
    if vector["error"] in ("WrongKey", "Corrupt"):
        decryptor = Cobblestone256Decryptor(record_key, f.context(record[:12], b"", id))
        try:
            plaintext = decryptor.update(record[12:]) + decryptor.finalize()
            f.unpad(plaintext) if record[2:3] == b"\x01" else None
        except (InvalidTag, f.Refused):
            return
        raise AssertionError("pyca/cryptography opens it")


def check_key(vector: dict[str, Any]) -> None:
    try:
        key = f.key_from_text(vector["kind"], vector["text"])
    except f.Refused as error:
        assert str(error) == vector.get("error")
    else:
        assert key.hex() == vector.get("key")


def check_settings(vector: dict[str, Any]) -> None:
    generations = [(line["number"], bytes.fromhex(line["check_value"])) for line in vector["generations"]]
    document = f.settings(bytes.fromhex(vector["store_id"]), vector["padding"], generations)
    assert_is(document, vector["document"])


def altered(value: Any) -> Any:
    """An altered form of `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, dict):
        return {**value, "len": value["len"] + 1}
    last = value[-1:]
    return value[:-1] + ("1" if last == "0" else "0")


def assert_refused(check: Any, *arguments: Any) -> None:
    try:
        check(*arguments)
    except (AssertionError, ValueError, f.Refused):
        return
    raise SystemExit("an altered vector passes")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    assert vectors["format"] == 1
    records, controls = {}, 0
    for vector in vectors["records"]:
        records[vector["name"]] = check_record(vector)
        for name in vector.keys() - {"name", "comment"}:
            wrong = copy.deepcopy(vector)
            wrong[name] = altered(wrong[name])
            assert_refused(check_record, wrong)
            controls += 1
    assert len(records) == len(vectors["records"])
    for vector in vectors["invalid"]:
        try:
            check_invalid(vector, records)
        except AssertionError as error:
            raise SystemExit(f"{vector['name']}: {error}") from error
        assert_refused(check_invalid, {**vector, "error": "NotFound"}, records)
        controls += 1
    for vector in vectors["keys"]:
        check_key(vector)
        wrong = {**vector, "error": "0"} if "error" in vector else {**vector, "key": altered(vector["key"])}
        assert_refused(check_key, wrong)
        controls += 1
    for vector in vectors["settings"]:
        check_settings(vector)
        for name in ("store_id", "document"):
            assert_refused(check_settings, {**vector, name: altered(vector[name])})
            controls += 1
    counts = [len(vectors[name]) for name in ("records", "invalid", "keys", "settings")]
    print(f"{counts[0]} records, {counts[1]} invalid, {counts[2]} keys, {counts[3]} settings, {controls} controls")


if __name__ == "__main__":
    main()
