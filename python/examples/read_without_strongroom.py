"""Opens a record without Strongroom, as docs/FORMAT.md describes.

    python read_without_strongroom.py records.db user:42:passport srk1...

Needs the packages `blake3` and `cryptography` (50 or later).
"""

import sqlite3
import sys
from pathlib import Path

from blake3 import blake3
from cryptography.cobblestone import Cobblestone256Decryptor


def key_bytes(text: str) -> bytes:
    """The 32 bytes of a key's text. The checksum is not checked: a key with a typo does not open the record."""
    groups = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(character) for character in text.strip().lower()[4:56]]
    return (sum(group << 5 * (51 - n) for n, group in enumerate(groups)) >> 4).to_bytes(32, "big")


def field(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value


def read(path: Path, id: bytes, key: str) -> bytes:
    index_key = key_bytes(Path(f"{path}.index-key").read_text())
    locator_key = blake3(index_key, derive_key_context="strongroom 2026-11-23 v1 locator").digest()
    hash = blake3(field(b"") + field(id), key=locator_key).digest()
    with sqlite3.connect(path) as database:
        (settings,) = database.execute("SELECT document FROM settings").fetchone()
        locator = settings[19:20] + hash[:31]  # of the index key's generation
        sql = "SELECT object, head, body FROM record WHERE locator = ?"
        row = database.execute(sql, (locator,)).fetchone()
        if row is None:
            raise KeyError("no record has this id")
        more = database.execute("SELECT data FROM segment WHERE object = ? ORDER BY n", row[:1]).fetchall()
    database.close()
    record = b"".join([row[1], row[2], *(data for (data,) in more)])
    header, message = record[:12], record[12:]
    context = b"strongroom/v1\0" + header + field(b"") + field(id)
    decryptor = Cobblestone256Decryptor(key_bytes(key), context)
    plaintext = decryptor.update(message) + decryptor.finalize()
    if header[:4] == b"\x01\x01\x01\x00":  # padded: the last 8 bytes give the length of the data
        return plaintext[: int.from_bytes(plaintext[-8:], "little")]
    if header[:4] != b"\x01\x01\x00\x00":
        raise ValueError("the record is of a newer version")
    return plaintext


if __name__ == "__main__":
    _, path, id, key = sys.argv
    sys.stdout.buffer.write(read(Path(path), id.encode(), key))
