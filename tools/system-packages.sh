#!/bin/sh
# Installs the system packages that are missing, or says how: system-packages.sh build, or tests, or dist
#
# It installs on Debian and its like, as root or where sudo asks for no password.
set -eu

if ! command -v "${CARGO:-cargo}" >/dev/null; then
    echo "Rust is missing (1.89 or later): https://rustup.rs" >&2
    exit 1
fi

missing=
needs() { # needs PACKAGE, if the command after it fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }

needs build-essential eval 'has cc && has c++ && has ld'
if [ "$1" = tests ]; then
    needs chromium has chromium
    needs curl has curl
    needs iproute2 has ip
    needs pkg-config has pkg-config
    needs postgresql ls /usr/lib/postgresql/*/bin/postgres
    needs python3 has "${PYTHON:-python3}"
    needs python3-venv "${PYTHON:-python3}" -c 'import ensurepip, venv'
    needs valgrind has valgrind
fi
if [ "$1" = dist ]; then
    needs debootstrap has debootstrap
    needs dpkg-dev has dpkg-shlibdeps
    needs pkg-config has pkg-config
fi
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends$missing"
if ! has apt-get >/dev/null; then
    echo "Programs are missing. On Debian they are in the packages$missing" >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    apt-get update --quiet --quiet && DEBIAN_FRONTEND=noninteractive $install
elif sudo -n true 2>/dev/null; then
    sudo -n apt-get update --quiet --quiet && sudo -n DEBIAN_FRONTEND=noninteractive $install
else
    echo "System packages are missing. This installs them:" >&2
    echo "    sudo apt-get update && sudo $install" >&2
    exit 1
fi
