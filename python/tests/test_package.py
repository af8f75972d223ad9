"""The installed package, and the contents of the wheel."""

import base64
import csv
import hashlib
import importlib.metadata
import io
import os
import re
import tomllib
import zipfile
from pathlib import Path

import pytest

import strongroom
from conftest import ROOT


def test_the_version_is_the_librarys() -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert strongroom.__version__ == version == importlib.metadata.version("strongroom")


def test_the_installed_package_is_tested() -> None:
    assert ROOT / "python" not in Path(strongroom.__file__).parents


@pytest.fixture
def wheel() -> zipfile.ZipFile:
    if "STRONGROOM_WHEEL" not in os.environ:
        pytest.skip("STRONGROOM_WHEEL names no wheel")
    return zipfile.ZipFile(os.environ["STRONGROOM_WHEEL"])


def test_what_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = {re.sub(r"^strongroom-[^/]*\.dist-info", "info", name) for name in wheel.namelist()}
    assert names == {
        "strongroom/__init__.py",
        "strongroom/_records.py",
        "strongroom/_strongroom.abi3.so",
        "strongroom/_strongroom.pyi",
        "strongroom/aio.py",
        "strongroom/exceptions.py",
        "strongroom/py.typed",
        "strongroom/testing/__init__.py",
        "strongroom/testing/pytest_plugin.py",
        "info/METADATA",
        "info/RECORD",
        "info/WHEEL",
        "info/entry_points.txt",
        "info/licenses/LICENSE-APACHE",
        "info/licenses/LICENSE-MIT",
        "info/sboms/strongroom-python.cyclonedx.json",
    }
    assert wheel.filename is not None
    assert "-cp311-abi3-" in wheel.filename
    components = next(wheel.read(name) for name in wheel.namelist() if "/sboms/" in name)
    assert b'"name": "rusqlite"' in components
    assert b'"serialNumber"' not in components and b'"timestamp"' not in components  # they differ in each build


def test_the_wheel_does_not_reveal_its_builder(wheel: zipfile.ZipFile) -> None:
    cargo = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    secrets = {str(ROOT), str(Path.home()), cargo}
    for name in wheel.namelist():
        data = wheel.read(name)
        if os.environ.get("BUILD_PROFILE") == "dev":
            # Without optimisation, AWS-LC has assertions, and age a folder of texts, with paths of these crates.
            sources = re.escape(cargo).encode() + rb"/registry/src/[\w.-]+/(?:aws-lc-sys|age)-[\d.]+[\w./-]*"
            data = re.sub(sources, b"", data)
        assert [path for path in secrets if len(path) > 1 and path.encode() in data] == [], name
        # No paths of sources except the compiler's own, and AWS-LC's relative to its folder.
        for path in re.findall(rb"(?<![\w.:/])/[\w./-]+\.(?:rs|c|h|toml)\b", data):
            assert path.startswith((b"/rustc/", b"/rust/deps/", b"/aws-lc/")), (name, path)


def test_the_wheels_record_is_right(wheel: zipfile.ZipFile) -> None:
    """Checks the wheel as installers do."""
    record = next(name for name in wheel.namelist() if name.endswith("/RECORD"))
    rows = {name: (digest, size) for name, digest, size in csv.reader(io.TextIOWrapper(wheel.open(record)))}
    assert rows.keys() == set(wheel.namelist())
    for name, (digest, size) in rows.items():
        if name != record:
            data = wheel.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={found}", str(len(data))), name
