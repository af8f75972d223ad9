"""Stores and restores a folder of 20,000 files with the sizes of a source tree: Strongroom, restic and age in turn.

Usage: python3 benches/python/trees.py [PROGRAM [FILES [ROUNDS]]]

It needs restic and age in the path (Debian has both), and prints a table of medians in seconds. Each round begins with
new repositories on the same disk, and a warm cache of files. Restored files are on the disk when the time ends.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = str(Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/strongroom").resolve())
FILES = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 3

WORDS = ("let", "self", "return", "match", "struct", "impl", "pub", "while", "Result", "Some", "None", "usize")


def make_tree(folder: Path) -> int:
    """Makes files of words, whose sizes have a median of 3.5 KiB and a mean of 10 KiB. Returns their bytes."""
    chance = random.Random(1)
    folders = [folder]
    for number in range(FILES // 14):
        parent = chance.choice(folders[: max(1, len(folders) // 2)])
        folders.append(parent / f"folder{number}")
        folders[-1].mkdir(parents=True)
    text = " ".join(chance.choice(WORDS) + str(chance.randrange(10_000)) for _ in range(1_000_000)).encode()
    total = 0
    for number in range(FILES):
        size = min(int(chance.lognormvariate(8.2, 1.45)), 4 << 20)
        start = chance.randrange(len(text) // 2)
        path = chance.choice(folders) / f"file{number}.rs"
        path.write_bytes((text[start:] + text)[:size])
        os.utime(path, (1_700_000_000, 1_700_000_000))
        total += size
    return total


def run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    subprocess.run(command, env=os.environ | (env or {}), cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def timed(work: Callable[[], object]) -> float:
    os.sync()  # what others have written before costs this work nothing
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def same(tree: Path, copy: Path) -> None:
    run("diff", "-r", str(tree), str(copy))


def strongroom(tree: Path, place: Path) -> list[float]:
    env = {"STRONGROOM_STORE": "records.db", "STRONGROOM_KEYRING": "keys", "STRONGROOM_IDENTITY": "me.age"}

    def program(*args: str) -> None:
        run(PROGRAM, *args, env=env, cwd=place)

    program("keyring", "new", "--new-identity", "me.age")
    store = ("store", "--recursive", "--id-prefix", "tree", str(tree))
    times = [timed(lambda: program(*store)), timed(lambda: program(*store))]
    times.append(timed(lambda: program("retrieve", "--recursive", "--id-prefix", "tree", "-o", "copy")))
    same(tree, place / "copy")
    return times


def restic(tree: Path, place: Path) -> list[float]:
    env = {"RESTIC_PASSWORD": "benchmark", "RESTIC_REPOSITORY": str(place / "repository")}
    run("restic", "init", env=env)

    def backup() -> None:
        run("restic", "--no-cache", "backup", ".", env=env, cwd=tree)

    times = [timed(backup), timed(backup)]
    copy = place / "copy"

    def restore() -> None:
        run("restic", "--no-cache", "restore", "latest", "--target", str(copy), env=env)
        run("sync", "-f", str(copy))

    times.append(timed(restore))
    # An old restic restores below the whole path.
    found = copy if (copy / "folder0").exists() else copy.joinpath(*tree.parts[1:])
    same(tree, found)
    return times


def age(tree: Path, place: Path) -> list[float]:
    run("age-keygen", "-o", "me.age", cwd=place)
    recipient = next(
        line.split()[-1] for line in (place / "me.age").read_text().splitlines() if line.startswith("# public key")
    )
    each = "find . -type d -exec mkdir -p {0}/{{}} \\; ; find . -type f | while read -r file; do {1}; done"
    encrypted, copy = place / "encrypted", place / "copy"
    encrypt = each.format(encrypted, f'age -r {recipient} -o "{encrypted}/$file" "$file"') + f" && sync -f {encrypted}"
    decrypt = each.format(copy, f'age -d -i {place}/me.age -o "{copy}/$file" "$file"') + f" && sync -f {copy}"
    times = [timed(lambda: run("sh", "-c", encrypt, cwd=tree)), float("nan")]
    times.append(timed(lambda: run("sh", "-c", decrypt, cwd=encrypted)))
    same(tree, copy)
    return times


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        tree = folder / "tree"
        tree.mkdir()
        total = make_tree(tree)
        print(f"{FILES:,} files, {total / 1e6:,.0f} MB, {ROUNDS} rounds", flush=True)
        contestants = {"strongroom": strongroom, "restic": restic, "age, file by file": age}
        times: dict[str, list[list[float]]] = {name: [] for name in contestants}
        for number in range(ROUNDS):
            for name, contestant in contestants.items():
                if contestant is age and number < ROUNDS - 1:
                    continue  # a process for each file takes minutes
                # Removed at the end: ext4 is slow to make files where it has just removed others.
                place = folder / f"{contestant.__name__}{number}"
                place.mkdir()
                times[name].append(contestant(tree, place))
                print(name, [f"{seconds:.2f}" for seconds in times[name][-1]], file=sys.stderr, flush=True)
    print("| | store | again, unchanged | restore |\n|---|---|---|---|")
    for name, rounds in times.items():
        columns = zip(*rounds, strict=True)
        cells = [statistics.median(column) for column in columns]
        print(f"| {name} | " + " | ".join("-" if cell != cell else f"{cell:.2f} s" for cell in cells) + " |")


main()
