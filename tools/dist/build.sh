#!/bin/sh
# Builds the packages of a release into a folder: tools/dist/build.sh FOLDER, with the Python environment of the group
# `dist` (python/pyproject.toml) in PATH. docs/RELEASING.md describes them.
#
# Two builds of one commit are identical: files have the time of the commit, and no file names the folder of the build.
set -eu
out=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
# The results of an earlier build are replaced, and nothing else.
if [ -e "$out" ] && [ -n "$(ls -A "$out")" ] && ! grep -qs ' strongroom-.*\.cdx\.json$' "$out/SHA256SUMS"; then
    echo "$out is not empty, and has no packages of an earlier build: choose another folder" >&2
    exit 1
fi
# Results of earlier builds are not used: the compiler does not always make the same code of a dependency.
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$PWD/target/dist-build LC_ALL=C TZ=UTC
# Exported only after the builds, none of which uses it: AWS-LC would be compiled again for each commit.
unset SOURCE_DATE_EPOCH
time=$(git log -1 --format=%ct)
umask 022
[ -z "$(git status --porcelain)" ] || echo "The packages have changes that are not committed." >&2

version=$(sed -n 's/^#define STRONGROOM_VERSION "\(.*\)"/\1/p' include/strongroom.h)
machine=$(uname -m)
work=$PWD/target/dist-work
rm -rf "$work" "$CARGO_TARGET_DIR"
mkdir -p "$work/packages"

echo "The C library" >&2
ffi/packaging/build.sh "$work/library"
name=strongroom-c-$version-linux-$machine
PREFIX=/$name DESTDIR=$work/tarball ffi/packaging/install.sh "$work/library"
# It works wherever it is unpacked.
sed -i "s|/$name|\${pcfiledir}/../..|" "$work/tarball/$name"/lib/pkgconfig/*.pc
cp LICENSE-APACHE LICENSE-MIT README.md "$work/tarball/$name"
install -D -m 644 -t "$work/tarball/$name/share/doc/strongroom/examples" ffi/examples/*
tar --create --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=gnu \
    --directory "$work/tarball" "$name" | gzip -9n >"$work/packages/$name.tar.gz"

echo "The program" >&2
(
    . tools/build-flags.sh
    ${CARGO:-cargo} build --quiet --release --locked -p strongroom-cli
)
objcopy --strip-unneeded "$CARGO_TARGET_DIR/release/strongroom" "$work/strongroom"

echo "The Python package" >&2
pyproject-build --outdir "$work/python" python >"$work/messages" 2>&1 || { cat "$work/messages" >&2; exit 1; }
export SOURCE_DATE_EPOCH="$time"
auditwheel repair --wheel-dir "$work/packages" "$work"/python/*.whl 2>"$work/messages" ||
    { cat "$work/messages" >&2; exit 1; }
cp "$work"/python/*.tar.gz "$work/packages"
echo "SKIPPED: the wheel for musl, because it needs Rust's standard library for $machine-unknown-linux-musl" >&2
echo "SKIPPED: the wheel for free-threaded Python, because it needs Python 3.15t for its tests" >&2

if command -v dpkg-deb >/dev/null && command -v dpkg-shlibdeps >/dev/null; then
    echo "The Debian packages" >&2
    tools/dist/debs.sh "$work/strongroom" "$work/library" "$work/debs" "$work/packages"
else
    echo "SKIPPED: the Debian packages, because dpkg-dev is not installed" >&2
fi

python tools/dist/sbom.py >"$work/packages/strongroom-$version.cdx.json"
(cd "$work/packages" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
# Only whole results reach the folder, so that the next build knows them.
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$work/packages" "$out"
ls -l "$out"
