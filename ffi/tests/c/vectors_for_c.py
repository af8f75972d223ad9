"""Converts docs/vectors.json for C: `python vectors_for_c.py DOCS FOLDER`.

Each record becomes a database in FOLDER, according to FORMAT.md; a line of FOLDER/vectors.h has the expected result.
"""

import json
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "core/tests/judges"))
import strongroom_format as f
from vectors import check_record, invalid_record, literal


def make_database(path: Path, schema: str, index_key: bytes, locator: bytes, generation: int, record: bytes) -> None:
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    database.executescript(
        f"PRAGMA application_id = 0x53524f4d; PRAGMA user_version = 1; PRAGMA journal_mode = WAL; {schema}"
    )
    settings = f.settings(bytes(16), "none", [(generation, f.check_value(index_key))])
    database.execute("INSERT INTO settings VALUES (1, ?)", (settings,))
    database.execute(
        "INSERT INTO record (prefix, len, checksum, locator, head, body) VALUES (?, ?, 0, ?, ?, ?)",
        (int.from_bytes(locator[:8], "big") - 2**63, len(record), locator, record[:68], record[68:]),
    )
    database.commit()
    database.close()
    Path(f"{path}.index-key").write_text(f.key_to_text("srx", index_key) + "\n", encoding="utf-8")


def c_bytes(value: str | dict[str, Any]) -> str:
    return f'{{"{value}", 0}}' if isinstance(value, str) else f'{{"", {value["len"]}}}'


def main() -> None:
    docs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    vectors = json.loads((docs / "vectors.json").read_text(encoding="utf-8"))
    schema = re.search(r"```sql\n(.*?)```", (docs / "FORMAT.md").read_text(encoding="utf-8"), re.DOTALL)
    assert schema is not None

    records = {vector["name"]: check_record(vector) for vector in vectors["records"]}
    lines = [
        "// Bytes are hexadecimal digits, or, where the number behind is not 0, so many bytes, byte i being i modulo 251.",
        "typedef struct { const char *digits; size_t pattern_len; } vector_bytes;",
        "typedef struct { const char *name, *key, *outcome; vector_bytes space, id, data; } record_vector;",
        "typedef struct { const char *kind, *text, *outcome, *key; } key_vector;",
        "static const record_vector RECORD_VECTORS[] = {",
    ]
    for vector in vectors["records"] + vectors["invalid"]:
        invalid = "error" in vector
        record = invalid_record(vector, records) if invalid else records[vector["name"]]
        space, id = vector.get("namespace", ""), vector["id"]
        index_key, generation = bytes.fromhex(vector["index_key"]), vector.get("generation", 1)
        locator = f.locator(index_key, generation, literal(space), literal(id))
        make_database(folder / f"{vector['name']}.db", schema[1], index_key, locator, generation, record)
        values = [json.dumps(value) for value in (vector["name"], vector["record_key"], vector.get("error", "Ok"))]
        values += [c_bytes(space), c_bytes(id), c_bytes(vector.get("data", ""))]
        lines.append(f"    {{{', '.join(values)}}},")
    lines += ["};", "static const key_vector KEY_VECTORS[] = {"]
    for vector in vectors["keys"]:
        values = [vector["kind"], vector["text"], vector.get("error", "Ok"), vector.get("key", "")]
        # Digits after a hexadecimal escape would be part of it; octal escapes have at most three.
        texts = ['"' + "".join(f"\\{byte:03o}" for byte in value.encode()) + '"' for value in values]
        lines.append(f"    {{{', '.join(texts)}}},")
    (folder / "vectors.h").write_text("\n".join([*lines, "};", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
