"""An independent implementation of docs/FORMAT.md, without code of Strongroom."""

import hashlib
import hmac
import time

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 16_384
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32M = 0x2BC830A3


class Refused(Exception):
    """Has the name of an error of FORMAT.md."""


def pattern(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def field(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value


# Keys


def bech32_checksum(kind: str, groups: list[int]) -> int:
    checksum = 1
    for group in [*(ord(c) >> 5 for c in kind), 0, *(ord(c) & 31 for c in kind), *groups]:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ group
        for bit, generator in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


def key_to_text(kind: str, key: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in key) + "0000"
    groups = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    checksum = bech32_checksum(kind, [*groups, 0, 0, 0, 0, 0, 0]) ^ BECH32M
    groups += [checksum >> 5 * (5 - i) & 31 for i in range(6)]
    return f"{kind}1{''.join(CHARSET[group] for group in groups)}"


def key_from_text(kind: str, text: str) -> bytes:
    if text != text.lower() and text != text.upper():
        raise Refused("InvalidKey")
    prefix, separator, data = text.lower().rpartition("1")
    if prefix != kind or not separator or any(c not in CHARSET for c in data):
        raise Refused("InvalidKey")
    groups = [CHARSET.index(c) for c in data]
    if len(groups) < 6 or bech32_checksum(kind, groups) != BECH32M:
        raise Refused("InvalidKey")
    bits = "".join(f"{group:05b}" for group in groups[:-6])
    key = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8))
    padding = bits[len(key) * 8 :]
    if len(key) != 32 or len(padding) != 4 or "1" in padding or not any(key):
        raise Refused("InvalidKey")
    return key


# Locators


def locator_key(index_key: bytes) -> bytes:
    return blake3(index_key, derive_key_context="strongroom 2026-11-23 v1 locator").digest()


def locator(index_key: bytes, generation: int, namespace: bytes, id: bytes) -> bytes:
    return bytes([generation]) + blake3(field(namespace) + field(id), key=locator_key(index_key)).digest()[:31]


def check_value(index_key: bytes) -> bytes:
    return blake3(index_key, derive_key_context="strongroom 2026-11-23 v1 index key check").digest()[:16]


# Settings


def settings(store_id: bytes, padding: str, generations: list[tuple[int, bytes]]) -> bytes:
    start = b"\x01" + store_id + bytes([["none", "padme"].index(padding), len(generations)])
    return start + b"".join(bytes([number]) + check_value for number, check_value in generations)


# Padding


def padded_len(length: int) -> int:
    """Padme of the data and its length."""
    length += 8
    exponent = length.bit_length() - 1
    mask = (1 << exponent - exponent.bit_length()) - 1
    return length + mask & ~mask


def pad(data: bytes) -> bytes:
    return data.ljust(padded_len(len(data)) - 8, b"\0") + len(data).to_bytes(8, "little")


def unpad(plaintext: bytes) -> bytes:
    length = int.from_bytes(plaintext[-8:], "little")
    if len(plaintext) < 8 or padded_len(length) != len(plaintext):
        raise Refused("Corrupt")
    return plaintext[:length]


# Records


def header(expires_at: int = 0, padded: bool = False) -> bytes:
    return bytes([1, 1, padded, 0]) + expires_at.to_bytes(8, "little")


def context(header: bytes, namespace: bytes, id: bytes) -> bytes:
    return b"strongroom/v1\x00" + header + field(namespace) + field(id)


def derive(record_key: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes, bytes]:
    """The AEAD key, the base nonce and the commitment."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context
    t1 = hmac.digest(record_key, info + b"\x01", hashlib.sha512)
    t2 = hmac.digest(record_key, t1 + info + b"\x02", hashlib.sha512)
    output = t1 + t2
    return output[:32], output[32:44], output[44:76]


def nonce(base_nonce: bytes, index: int) -> bytes:
    return (int.from_bytes(base_nonce, "big") ^ index).to_bytes(12, "big")


def seal(
    record_key: bytes, namespace: bytes, id: bytes, salt: bytes, expires_at: int, padded: bool, data: bytes
) -> bytes:
    start, plaintext = header(expires_at, padded), pad(data) if padded else data
    key, base_nonce, commitment = derive(record_key, salt, context(start, namespace, id))
    parts = [start, salt, commitment]
    for index in range(len(plaintext) // CHUNK + 1):
        chunk = plaintext[index * CHUNK : (index + 1) * CHUNK]
        parts.append(AESGCM(key).encrypt(nonce(base_nonce, index), chunk, None))
    return b"".join(parts)


def open_chunks(key: bytes, base_nonce: bytes, chunks: bytes) -> tuple[bytes, bool]:
    """The authentic part of the plaintext, and whether it is complete."""
    plaintext = b""
    for index in range(len(chunks) // (CHUNK + 16) + 1):
        chunk = chunks[index * (CHUNK + 16) : (index + 1) * (CHUNK + 16)]
        if len(chunk) < 16:
            return plaintext, False
        try:
            plaintext += AESGCM(key).decrypt(nonce(base_nonce, index), chunk, None)
        except InvalidTag:
            return plaintext, False
    return plaintext, True


def open_record(record_key: bytes, namespace: bytes, id: bytes, record: bytes) -> bytes:
    """Steps 1 and 3 to 11 of "Reading a record"."""
    if not 1 <= len(id) <= 4096:
        raise Refused("InvalidId")
    if len(record) < 12:
        raise Refused("Corrupt")
    if record[:4] not in (b"\x01\x01\x00\x00", b"\x01\x01\x01\x00"):
        raise Refused("Unsupported")
    if len(record) < 68:
        raise Refused("Corrupt")
    key, base_nonce, commitment = derive(record_key, record[12:36], context(record[:12], namespace, id))
    if not hmac.compare_digest(commitment, record[36:68]):
        raise Refused("WrongKey")
    expires_at = int.from_bytes(record[4:12], "little")
    if expires_at != 0 and expires_at <= time.time():
        raise Refused("Expired")
    if (len(record) - 68) % (CHUNK + 16) < 16:
        raise Refused("Corrupt")
    plaintext, whole = open_chunks(key, base_nonce, record[68:])
    if not whole:
        raise Refused("Corrupt")
    return unpad(plaintext) if record[2] == 1 else plaintext
