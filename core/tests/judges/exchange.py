"""Opens the records of a database that Strongroom wrote, and writes records into it: `python exchange.py folder`.

The folder has `records.db`, its index key's file, and `ours.json`, a list of {"id", "key", "len"}; the data is the
pattern. The script writes `theirs.json` in the same form; a record with an "error" must not open.
"""

import json
import os
import random
import sqlite3
import sys
import zlib

import strongroom_format as f
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

SIZES = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000, 1_500_000]


def prefix(locator: bytes) -> int:
    return int.from_bytes(locator[:8], "big") - 2**63


def numbers(one: int, other: int) -> bytes:
    return one.to_bytes(8, "little", signed=True) + other.to_bytes(8, "little", signed=True)


def record_checksum(locator: bytes, length: int, object: int | None, data: bytes) -> int:
    return zlib.crc32(locator) ^ zlib.crc32(numbers(length, object or 0) + data)


def segment_checksum(object: int, n: int, data: bytes) -> int:
    return zlib.crc32(numbers(object, n) + data)


def read(database: sqlite3.Connection, locator: bytes) -> bytes:
    sql = "SELECT len, expires_at, object, checksum, head, body FROM record WHERE prefix = ? AND locator = ?"
    ((length, expires_at, object, checksum, head, body),) = database.execute(sql, (prefix(locator), locator)).fetchall()
    assert len(head) == 68
    assert expires_at is None
    assert checksum == record_checksum(locator, length, object, head + body)
    sql = "SELECT n, checksum, data FROM segment WHERE object = ? ORDER BY n"
    segments = database.execute(sql, (object,)).fetchall()
    assert [n for n, _, _ in segments] == list(range(len(segments)))
    assert all(len(data) == 68 + len(body) for _, _, data in segments[:-1])
    assert all(checksum == segment_checksum(object, n, data) for n, checksum, data in segments)
    record = b"".join([head, body, *(data for _, _, data in segments)])
    assert len(record) == length
    return record


def write(database: sqlite3.Connection, locator: bytes, record: bytes, segment_len: int) -> None:
    pieces = [record[i : i + segment_len] for i in range(0, len(record), segment_len)]
    object = random.getrandbits(63) if len(pieces) > 1 else None
    checksum = record_checksum(locator, len(record), object, pieces[0])
    sql = "INSERT INTO record (prefix, len, object, checksum, locator, head, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    row = (prefix(locator), len(record), object, checksum, locator, pieces[0][:68], pieces[0][68:])
    database.execute(sql, row)
    for n, piece in enumerate(pieces[1:]):
        checksum = segment_checksum(object or 0, n, piece)
        sql = "INSERT INTO segment (object, n, checksum, data) VALUES (?, ?, ?, ?)"
        database.execute(sql, (object, n, checksum, piece))


def in_pieces(work: Cobblestone256Encryptor | Cobblestone256Decryptor, data: bytes) -> bytes:
    output, start = [], 0
    while start < len(data):
        end = start + random.choice([1, 16, 1_000, 16_384, 16_400, 50_000, 1_000_000])
        output.append(work.update(data[start:end]))
        start = end
    return b"".join([*output, work.finalize()])


def opens(record: bytes, key: bytes, id: bytes) -> bytes | None:
    try:
        return in_pieces(Cobblestone256Decryptor(key, f.context(record[:12], b"", id)), record[12:])
    except InvalidTag:
        return None


def main() -> None:
    folder = sys.argv[1]
    random.seed(1)
    with open(f"{folder}/records.db.index-key", encoding="ascii") as file:
        index_key = f.key_from_text("srx", file.read().strip())
    with open(f"{folder}/ours.json", encoding="ascii") as file:
        ours = json.load(file)
    database = sqlite3.connect(f"{folder}/records.db", isolation_level=None)
    (document,) = database.execute("SELECT document FROM settings").fetchone()
    store_id, generation = document[1:17], document[19]
    assert document == f.settings(store_id, "none", [(generation, f.check_value(index_key))])
    assert any(store_id)

    opened = refused = 0
    for line in ours:
        id, key = bytes.fromhex(line["id"]), f.key_from_text("srk", line["key"])
        record = read(database, f.locator(index_key, generation, b"", id))
        assert opens(record, key, id) == f.pattern(line["len"])
        opened += 1
        altered = bytearray(record)
        altered[random.randrange(4, len(record))] ^= 1 << random.randrange(8)
        wrong_key = bytes([key[0] ^ 1]) + key[1:]
        assert opens(bytes(altered), key, id) is None
        assert opens(record[:-1], key, id) is None
        assert opens(record, wrong_key, id) is None
        assert opens(record, key, id + b"!") is None
        refused += 4

    theirs = []
    database.execute("BEGIN IMMEDIATE")
    for number in range(200):
        size = SIZES[number] if number < len(SIZES) else random.randrange(70_000)
        # The number makes short ids distinct.
        id, key = bytes([number]) + os.urandom(random.randrange(60)), Cobblestone256Encryptor.generate_key()
        header = f.header()
        record = header + in_pieces(Cobblestone256Encryptor(key, f.context(header, b"", id)), f.pattern(size))
        line = {"id": id.hex(), "key": f.key_to_text("srk", key), "len": size}
        if number >= len(SIZES) and number % 4 == 0:
            place = random.randrange(12, len(record))
            record = record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :]
            line["error"] = "WrongKey" if place < 68 else "Corrupt"
        write(database, f.locator(index_key, generation, b"", id), record, random.choice([5_000, 100_000, 1_047_552]))
        theirs.append(line)
    database.execute("COMMIT")
    database.close()
    with open(f"{folder}/theirs.json", "w", encoding="ascii") as file:
        json.dump(theirs, file)
    print(f"{opened} opened, {refused} refused, {len(theirs)} written")


if __name__ == "__main__":
    main()
