"""The memory for large files."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the memory that a process has used")

#: Stores the file of the first argument, reads it back, and prints the digest, the times and the memory.
SCRIPT = r"""
import hashlib, re, sys, time
import strongroom

source, path = sys.argv[1:]
with strongroom.open(path) as store:
    start = time.perf_counter()
    key = store.store_file("id", source)
    stored = time.perf_counter()
    digest = hashlib.blake2b()
    with store.open_record("id", key) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    retrieved = time.perf_counter()
# Not getrusage: its figure is at least that of the process that started this one.
memory = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) >> 10
print(digest.hexdigest(), memory, round(stored - start, 2), round(retrieved - stored, 2))
"""


@pytest.mark.parametrize("mebibytes", [128, pytest.param(1024, marks=pytest.mark.large)])
def test_a_large_file_takes_little_memory(tmp_path: Path, mebibytes: int) -> None:
    digest, block = hashlib.blake2b(), bytearray(1 << 20)
    with (tmp_path / "source").open("wb") as file:
        for n in range(mebibytes):
            block[:8] = n.to_bytes(8, "big")
            digest.update(block)
            file.write(block)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "source"), str(tmp_path / "records.db")]
    found, memory, storing, reading = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    print(f"{mebibytes} MiB: stored in {storing} s, read and hashed in {reading} s, {memory} MiB of memory at most")
    assert found == digest.hexdigest()
    assert int(memory) <= 64
