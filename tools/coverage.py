#!/usr/bin/env python3
"""The lines of the parsers of untrusted input that the fuzz targets' corpora reach: coverage.py LLVM_BIN

Runs the tests of the corpora on instrumented code, prints a table, and each line that they do not reach. Exits with 1
if a parser is below 95 %. LLVM_BIN has llvm-profdata and llvm-cov of the compiler's major version of LLVM.

Cargo calls this program in place of the compiler, too, for the crates of the workspace: coverage.py RUSTC ARGUMENTS...
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

# The names are not compressed, because llvm-cov may be built without zlib.
INSTRUMENT = ["-C", "instrument-coverage", "-C", "llvm-args=-enable-name-compression=false"]
TARGET = 95.0
OUT = Path("target/coverage")

# The functions of each parser. The rest of these files makes texts and records, or uses what was parsed.
PARSERS = {
    "records": {
        "core/src/record.rs": "decode",
        "core/src/settings.rs": "store_id decode",
        "core/src/cobblestone/message_key.rs": "recover open_chunk open_chunks open_chunk_in_place verify split",
        "core/src/cobblestone/open.rs": "open open_into open_in_place verify_key start open_chunks open_and_move new"
        " update finish append_opened",
        "core/src/cobblestone/open_range.rs": "open_range new chunk_len open_chunk read read_chunk",
        "core/src/cobblestone/size.rs": "plaintext_len plaintext_len_usize",
    },
    "protocol": {
        "core/src/protocol/base64url.rs": "decode decode_tag decode_etag",
        "core/src/protocol/batch.rs": "new push push_head finish decode_locators decode_get_many",
        "core/src/protocol/documents.rs": "read_page read_rename read_swap_settings read_verify read_verification"
        " read_stats read_purge read_purged read_compact read_compacted read_erased read_contains text locator fields"
        " optional",
        "core/src/protocol/problem.rs": "detail code_in",
        "core/src/protocol/range.rs": "parse within parse_content_range",
        "core/src/util/hex.rs": "from_hex",
    },
    "keys and tokens": {
        "core/src/key/mod.rs": "from_bytes from_text parse_text",
        "core/src/protocol/token.rs": "authorization shown_token",
        "core/src/util/secret_text.rs": "of name_of trim looks_like_secret is_in_path decode starts_with",
        "server/src/tokens/bound_namespace.rs": "new parse",
        "server/src/tokens/hashes.rs": "parse without_zeros parse_line list_tokens",
        "server/src/tokens/scope.rs": "from_str",
        "server/src/tokens/token_name.rs": "parse",
    },
    "configuration": {
        "server/src/config/address.rs": "from_str try_from",
        "server/src/config/cluster.rs": "check",
        "server/src/config/document.rs": "from_toml",
        "server/src/config/invalid.rs": "new expected",
        "server/src/config/limits.rs": "unusable",
    },
    "datagrams": {
        "server/src/cluster/replay.rs": "is_new accept index bit",
        "server/src/cluster/seal.rs": "open fields decode",
        "server/src/cluster/values.rs": "read is_printable",
    },
    "requests": {
        "server/src/conditions.rs": "of range_applies",
        "server/src/encryption/fields.rs": "number flag text try_from",
        "server/src/headers.rs": "check check_conditions check_single",
        "server/src/host.rs": "check is_known canonical",
        "server/src/request_text.rs": "locator number range query object",
    },
    "URLs": {
        "core/src/http/address.rs": "parse port socket without_brackets",
        "core/src/http/endpoint.rs": "cluster with_option parse split from_str",
        "core/src/http/trusted_names.rs": "new check",
        "core/src/location.rs": "parse service is_postgres postgres bucket local",
        "core/src/storage/object/location.rs": "provider from_str checked_endpoint",
        "core/src/storage/postgres/config.rs": "new parse take uses_tls is_local decode",
        "core/src/util/url.rs": "service_scheme cluster_urls is_service_url is_bucket_url is_url",
    },
}


def main(llvm: Path) -> int:
    program = build()
    for old in OUT.glob("*.profraw"):
        old.unlink()
    environment = {**os.environ, "LLVM_PROFILE_FILE": str(OUT.absolute() / "%p.profraw")}
    subprocess.run([program.absolute()], cwd="fuzz", env=environment, check=True, stdout=subprocess.DEVNULL)
    merged = OUT / "all.profdata"
    subprocess.run([llvm / "llvm-profdata", "merge", "-sparse", *OUT.glob("*.profraw"), "-o", merged], check=True)
    export = [llvm / "llvm-cov", "export", "-format=lcov", "-instr-profile", merged, program]
    lines = executed(subprocess.run(export, check=True, stdout=subprocess.PIPE, text=True).stdout)

    missed, is_low = [], False
    print("| parser | lines | reached | |\n|---|---|---|---|")
    for parser, files in PARSERS.items():
        counts = []
        for file, names in files.items():
            source = Path(file).read_text().split("\n")
            numbers = {n for name in names.split() for n in body(file, source, name)}
            of_file = {n: count for n, count in lines[file].items() if n in numbers}
            counts += of_file.values()
            missed += [f"{file}:{n}: {source[n - 1].strip()}" for n, count in sorted(of_file.items()) if count == 0]
        reached = sum(count > 0 for count in counts)
        share = 100 * reached / len(counts)
        is_low |= share < TARGET
        print(f"| {parser} | {len(counts)} | {reached} | {share:.1f} % |")
    print("\nNot reached:", *missed, sep="\n")
    return int(is_low)


def build() -> Path:
    """The instrumented test program. Dependencies are those of the other tests."""
    command = [os.environ.get("CARGO", "cargo"), "test", "--workspace", "--all-features", "--test", "corpora"]
    environment = {**os.environ, "RUSTC_WORKSPACE_WRAPPER": str(Path(__file__).absolute())}
    messages = subprocess.run(
        [*command, "--no-run", "--message-format=json-render-diagnostics"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    return Path(next(program for line in messages if (program := json.loads(line).get("executable"))))


def executed(lcov: str) -> dict[str, dict[int, int]]:
    """How often each line of each file was executed."""
    lines: dict[str, dict[int, int]] = {}
    file = ""
    for line in lcov.splitlines():
        kind, _, value = line.partition(":")
        if kind == "SF":
            file = os.path.relpath(value)
        elif kind == "DA":
            number, count = map(int, value.split(",")[:2])
            counts = lines.setdefault(file, {})
            counts[number] = max(count, counts.get(number, 0))
    return lines


def body(file: str, source: list[str], name: str) -> range:
    """The lines of the functions of this name, as rustfmt writes them."""
    head = re.compile(rf"( *)(pub(\([a-z]+\))? )?(const )?fn {name}[<(]")
    starts = [(n, match[1]) for n, line in enumerate(source, 1) if (match := head.match(line))]
    assert starts, f"{file} has no function {name}"
    return [n for start, indent in starts for n in range(start, source.index(f"{indent}}}", start) + 2)]


if __name__ == "__main__":
    if Path(sys.argv[1]).name.startswith("rustc"):
        os.execvp(sys.argv[1], [*sys.argv[1:], *INSTRUMENT])
    OUT.mkdir(parents=True, exist_ok=True)
    sys.exit(main(Path(sys.argv[1])))
