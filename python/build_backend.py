"""Builds the package with maturin, and leaves no trace of the machine that built it.

The compiler writes the paths of sources into the library, for messages of panics, and maturin writes them into the list
of components. Both are shortened here, because they are useless to users and reveal details of the building machine.
The list's random number and its time are removed, so that two builds are identical.
"""

import base64
import hashlib
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_wheel",
]

HERE = Path(__file__).resolve().parent
#: The workspace: one level up in a checkout, this folder in a source distribution.
ROOT = next(folder for folder in (HERE, HERE.parent) if (folder / "Cargo.lock").exists())


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel (PEP 517), and return its name."""
    os.environ["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(_compiler_flags())
    name: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    _rewrite_components(Path(wheel_directory, name))
    return name


def _compiler_flags() -> list[str]:
    """Make the compiler write paths of sources relative to their packages."""
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").resolve()
    command = [os.environ.get("RUSTC", "rustc"), "--print", "sysroot"]
    rust = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    encoded = os.environ.get("CARGO_ENCODED_RUSTFLAGS")
    given = os.environ.get("RUSTFLAGS", "").split() if encoded is None else encoded.split("\x1f")
    names = {ROOT: "strongroom", cargo: "cargo", rust: "rust"}
    # Cargo uses them instead of the flags in its configuration, and cannot add to those: a user who needs some for this
    # build sets RUSTFLAGS.
    flags = [f"--remap-path-prefix={path}={name}" for path, name in names.items()]
    return [*filter(None, given), *(flag for flag in flags if flag not in given)]


def _rewrite_components(wheel: Path) -> None:
    """Remove the workspace's path, a number and the time from the wheel's list of components, and update its entry in
    RECORD.
    """
    with zipfile.ZipFile(wheel) as archive:
        files = [(entry, archive.read(entry)) for entry in archive.infolist()]
    record = {}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in files:
            if "/sboms/" in entry.filename:
                old, data = data, data.replace(f"{ROOT.as_uri()}/".encode(), b"file:///strongroom/")
                data = re.sub(rb'\s*"(serialNumber|timestamp)": "[^"]*",', b"", data)
                record[_line(entry.filename, old)] = _line(entry.filename, data)
            if entry.filename.endswith(".dist-info/RECORD"):
                lines = data.decode().splitlines()
                data = "".join(f"{record.get(line, line)}\n" for line in lines).encode()
            archive.writestr(entry, data)


def _line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}"
