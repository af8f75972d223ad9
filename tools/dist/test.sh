#!/bin/sh
# Installs each package of `make dist` as a user would, and uses it: tools/dist/test.sh FOLDER, with the Python
# environment of the group `dist` in PATH. It prints SKIPPED with the reason for what this machine cannot test.
set -eu
dist=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$PWD/target/dist-test pip="$PWD/target/python-venv/bin/pip --quiet --disable-pip-version-check"
rm -rf "$work/run"
mkdir -p "$work/run"

echo "The checksums and the list of components"
(cd "$dist" && sha256sum --check --strict --quiet SHA256SUMS)
[ "$(find "$dist" -type f | wc -l)" = "$(($(wc -l <"$dist/SHA256SUMS") + 1))" ]
python - "$dist"/*.cdx.json <<'END'
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = Path(sys.argv[1]).read_text()
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert problem is None, problem
for name in ("SQLite", "AWS-LC", "rusqlite", "clap", "pyo3"):
    assert f'"name": "{name}"' in text, name
END

echo "The tarball of the C library"
mkdir "$work/run/c"
tar -xzf "$dist"/strongroom-c-*.tar.gz -C "$work/run/c"
library=$(echo "$work"/run/c/strongroom-c-*)
(
    cd "$work/run/c"
    export PKG_CONFIG_PATH="$library/lib/pkgconfig"
    program=$library/share/doc/strongroom/examples/first_use.c
    [ -s "$library/README.md" ]
    cc "$program" $(pkg-config --cflags --libs strongroom) -o shared
    cc "$program" $(pkg-config --cflags --static --libs strongroom) -o static
    [ "$(LD_LIBRARY_PATH=$library/lib ./shared)" = "scanned pages" ]
    rm records.db*
    [ "$(./static)" = "scanned pages" ]
    ldd static | grep -q strongroom && exit 1
    c++ -std=c++17 "${program%.c}.cpp" $(pkg-config --cflags --static --libs strongroom) -o cpp
    rm records.db*
    [ "$(./cpp)" = "scanned pages" ]
)

# python_package NAME PACKAGE: in a fresh environment
python_package() {
    ${PYTHON:-python3} -m venv --without-pip "$work/run/$1"
    $pip --python "$work/run/$1/bin/python" install --no-cache-dir "$2"
    (
        cd "$work/run/$1"
        bin/python -I -W error -c "
import strongroom
with strongroom.open('records.db') as store:
    key = store.store('user:42:passport', b'scanned pages')
    assert store.retrieve('user:42:passport', key) == b'scanned pages'
"
    )
}
echo "The wheel"
python_package wheel "$dist"/*.whl
echo "The source distribution"
# Unpacked at the same place each time, so that Cargo builds what has changed; without optimisation, to save time.
mkdir "$work/run/sdist-source"
tar -xzf "$dist"/strongroom-[0-9]*.tar.gz -C "$work/run/sdist-source"
CARGO_TARGET_DIR=$work/sdist-target MATURIN_PEP517_ARGS="--profile dev" \
    python_package sdist "$(echo "$work"/run/sdist-source/*)"

echo "The Debian packages"
if ! ls "$dist"/*.deb >/dev/null 2>&1; then
    echo "SKIPPED: there are none"
elif [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    echo "SKIPPED: they need root and debootstrap (tools/system-packages.sh dist)"
else
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    if [ ! -e "$work/debian-$suite/ready" ]; then
        rm -rf "$work/debian-$suite"
        debootstrap --variant=minbase "$suite" "$work/debian-$suite" >"$work/debootstrap.log"
        touch "$work/debian-$suite/ready"
    fi
    cp -a "$work/debian-$suite" "$work/run/debian"
    mkdir "$work/run/debian/packages"
    cp "$dist"/*.deb tools/dist/test-debian.sh "$work/run/debian/packages"
    # The mount ends with the command.
    unshare --mount sh -c 'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/sh /packages/test-debian.sh' sh \
        "$work/run/debian"
fi
echo "All packages work."
