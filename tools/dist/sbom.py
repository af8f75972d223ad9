"""Prints the list of components (SBOM, CycloneDX) of the program, the C library and the Python package.

It has what is linked into them: crates with their licences and checksums, and the C libraries that some crates contain.
SOURCE_DATE_EPOCH is its time.
"""

import json
import os
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

ROOTS = ["strongroom-cli", "strongroom-ffi", "strongroom-python"]
#: The C libraries inside of crates: name, file with the version, pattern of its parts, package URL, CPE.
BUNDLED = {
    "libsqlite3-sys": (
        "SQLite",
        "sqlite3/sqlite3.h",
        r'#define SQLITE_VERSION +"(.*)"',
        "pkg:generic/sqlite@{}",
        "cpe:2.3:a:sqlite:sqlite:{}:*:*:*:*:*:*:*",
    ),
    "aws-lc-sys": (
        "AWS-LC",
        "aws-lc/include/openssl/base.h",
        r'#define AWSLC_VERSION_NUMBER_STRING "(.*)"',
        "pkg:github/aws/aws-lc@v{}",
        "cpe:2.3:a:amazon:aws-lc:{}:*:*:*:*:*:*:*",
    ),
    "zstd-sys": (
        "Zstandard",
        "zstd/lib/zstd.h",
        r"#define ZSTD_VERSION_(?:MAJOR|MINOR|RELEASE) +(\d+)",
        "pkg:github/facebook/zstd@v{}",
        "cpe:2.3:a:facebook:zstandard:{}:*:*:*:*:*:*:*",
    ),
}


def run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


TARGET = re.search("host: (.*)", run("rustc", "-vV"))[1]


def linked(root: str) -> set[tuple[str, str]]:
    """Return the names and versions of the crates that are linked into ``root``."""
    tree = run(
        *("cargo", "tree", "--locked", "--package", root, "--target", TARGET, "--edges", "normal,no-proc-macro"),
        *("--prefix", "none", "--format", "{p}"),
    )
    found = [re.match(r"(\S+) v(\S+)", line) for line in tree.splitlines()]
    return {(match[1], match[2]) for match in found if match}


def url(name: str, version: str) -> str:
    return f"pkg:cargo/{name}@{version}"


def main() -> None:
    locked = tomllib.loads(Path("Cargo.lock").read_text())["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in locked}
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={TARGET}"))
    packages = {package["id"]: package for package in metadata["packages"]}
    wanted = set().union(*map(linked, ROOTS))

    components, dependencies = [], []
    for node in metadata["resolve"]["nodes"]:
        package = packages[node["id"]]
        name, version = package["name"], package["version"]
        if (name, version) not in wanted:
            continue
        component = {
            "type": "application" if name == "strongroom-cli" else "library",
            "bom-ref": url(name, version),
            "name": name,
            "version": version,
            "purl": url(name, version),
            "licenses": [{"expression": package["license"].replace("/", " OR ")}],
        }
        if checksum := checksums[name, version]:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
        normal = [dep for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        used = {(packages[dep["pkg"]]["name"], packages[dep["pkg"]]["version"]) for dep in normal} & wanted
        if name in BUNDLED:
            bundled = bundled_library(name, Path(package["manifest_path"]).parent)
            components.append(bundled)
            dependencies.append({"ref": bundled["bom-ref"], "dependsOn": []})
        else:
            bundled = None
        refs = [url(*each) for each in used] + ([bundled["bom-ref"]] if bundled else [])
        dependencies.append({"ref": url(name, version), "dependsOn": sorted(refs)})

    missing = wanted - {(component["name"], component["version"]) for component in components}
    assert not missing, missing
    rust = run("rustc", "--version").split()[1]
    components.append({"type": "library", "bom-ref": "rust", "name": "Rust's standard library", "version": rust})
    version = json.loads(run("cargo", "metadata", "--no-deps", "--format-version=1"))["packages"][0]["version"]
    time = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "bom-ref": "release", "name": "strongroom", "version": version},
        },
        "components": sorted(components, key=lambda component: component["bom-ref"]),
        "dependencies": sorted(
            [
                *dependencies,
                {"ref": "rust", "dependsOn": []},
                {"ref": "release", "dependsOn": sorted([*(url(root, version) for root in ROOTS), "rust"])},
            ],
            key=lambda dependency: dependency["ref"],
        ),
    }
    print(json.dumps(document, indent=1))


def bundled_library(crate: str, folder: Path) -> dict[str, str]:
    name, header, pattern, package_url, cpe = BUNDLED[crate]
    version = ".".join(re.findall(pattern, (folder / header).read_text()))
    assert version, crate
    reference = package_url.format(version)
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "cpe": cpe.format(version),
    }


if __name__ == "__main__":
    main()
