"""Rewrites the public test vectors of c2sp.org/chunked-encryption for another language's test: `python
public_vectors.py folder`.

They come with the package cryptography-vectors. Of each with AES-256-GCM, `vectors.json` lists name, key, context and
whether it opens; `<name>.message` is the message and `<name>.plaintext` what of its plaintext is authentic, made here
from the vector's AEAD key and checked against its digest.
"""

import base64
import hashlib
import json
import sys
import zlib
from pathlib import Path

import cryptography_vectors
import strongroom_format as f


def main() -> None:
    folder = Path(sys.argv[1])
    with cryptography_vectors.open_vector_file("chunked-encryption/vectors.json", "r") as file:
        vectors = [v for v in json.load(file)["vectors"] if v["aead"] == "AEAD_AES_256_GCM"]
    lines = []
    for vector in vectors:
        message = base64.b64decode(vector["ciphertext"] or "")
        if vector.get("compressed"):
            message = zlib.decompress(message)
        plaintext, whole = b"", False
        if "aead_key" in vector:
            aead_key, base_nonce = bytes.fromhex(vector["aead_key"]), bytes.fromhex(vector["base_nonce"])
            derived = f.derive(bytes.fromhex(vector["key"]), message[:24], vector["context"].encode())
            assert derived == (aead_key, base_nonce, message[24:56])
            plaintext, whole = f.open_chunks(aead_key, base_nonce, message[56:])
        digest = vector.get("payload_sha256", hashlib.sha256(b"").hexdigest())
        assert hashlib.sha256(plaintext).hexdigest() == digest, vector["name"]
        assert len(plaintext) == vector.get("payload_length", 0), vector["name"]
        assert whole == (vector["expect"] == "success"), vector["name"]
        (folder / f"{vector['name']}.message").write_bytes(message)
        (folder / f"{vector['name']}.plaintext").write_bytes(plaintext)
        names = ["name", "key"]
        line = {name: vector[name] for name in names}
        lines.append({**line, "context": vector["context"].encode().hex(), "opens": whole})
    (folder / "vectors.json").write_text(json.dumps(lines), encoding="ascii")
    print(f"{len(lines)} vectors")


if __name__ == "__main__":
    main()
