"""Rewrites Project Wycheproof's test vectors of Cobblestone-256 for a test in another language: `python wycheproof.py
vectors.json folder`.

For each, `vectors.json` lists id, comment, key, context, flags and whether it opens; `<id>.message` is the message, and
`<id>.plaintext` the authentic part of its plaintext, computed from the vector's AEAD key and checked by its digest.
"""

import hashlib
import json
import sys
import zlib
from pathlib import Path

import strongroom_format as f


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    document = json.loads(source.read_text(encoding="utf-8"))
    assert document["algorithm"] == "Cobblestone-256"
    (group,) = document["testGroups"]
    assert (group["aead"], group["sha"]) == ("AEAD_AES_256_GCM", "SHA-512")
    lines = []
    for vector in group["tests"]:
        message = zlib.decompress(bytes.fromhex(vector["ct"]))
        plaintext, whole = b"", False
        if "aeadKey" in vector:
            aead_key, base_nonce = bytes.fromhex(vector["aeadKey"]), bytes.fromhex(vector["baseNonce"])
            derived = f.derive(bytes.fromhex(vector["key"]), message[:24], bytes.fromhex(vector["ctx"]))
            assert derived == (aead_key, base_nonce, message[24:56]), vector["tcId"]
            plaintext, whole = f.open_chunks(aead_key, base_nonce, message[56:])
        else:
            assert "HeaderFailure" in vector["flags"]
        assert len(plaintext) == vector.get("msgLength", 0), vector["tcId"]
        digest = vector.get("msgSha512", hashlib.sha512(b"").hexdigest())
        assert hashlib.sha512(plaintext).hexdigest() == digest, vector["tcId"]
        assert whole == (vector["result"] == "valid"), vector["tcId"]
        (folder / f"{vector['tcId']}.message").write_bytes(message)
        (folder / f"{vector['tcId']}.plaintext").write_bytes(plaintext)
        line = {name: vector[name] for name in ("tcId", "comment", "key", "ctx", "flags")}
        lines.append({**line, "opens": whole})
    assert len(lines) == document["numberOfTests"]
    (folder / "vectors.json").write_text(json.dumps(lines), encoding="ascii")
    print(f"{len(lines)} vectors")


if __name__ == "__main__":
    main()
