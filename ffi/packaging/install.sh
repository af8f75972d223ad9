#!/bin/sh
# Installs the libraries of build.sh, the headers, and the files for pkg-config and CMake: install.sh FOLDER
#
# PREFIX, LIBDIR and INCLUDEDIR are the final folders, DESTDIR is a prefix for staging.
set -eu
case ${PREFIX:-}${LIBDIR:-}${INCLUDEDIR:-} in
*[[:space:][:cntrl:]\"\'\`\\\$\&\|\#\;]*)
    # `fill`, pkg-config or CMake would change the name.
    echo "PREFIX, LIBDIR or INCLUDEDIR has a space or one of \"'\`\\\$&|#;: choose another folder" >&2
    exit 1
    ;;
esac
built=$(realpath -m "$1") destdir=${DESTDIR:+$(realpath -m "$DESTDIR")}
cd "$(dirname "$0")/../.."
if [ ! -e "$built/libs.private" ]; then
    echo "there is no library in $built: build it first, by \`make library\`" >&2
    exit 1
fi
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=${INCLUDEDIR:-$prefix/include}
version=$(sed -n 's/^#define STRONGROOM_VERSION "\(.*\)"/\1/p' include/strongroom.h)
soversion=$(objdump -p "$built/libstrongroom.so" | sed -n 's/ *SONAME *libstrongroom\.so\.//p')

fill() {
    sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@INCLUDEDIR@|$includedir|" \
        -e "s|@VERSION@|$version|" -e "s|@SOVERSION@|$soversion|" -e "s|@LIBS_PRIVATE@|$(cat "$built/libs.private")|" \
        -e "s|@TO_PREFIX@|$(realpath --canonicalize-missing --relative-to="$libdir/cmake/strongroom" "$prefix")|" \
        -e "s|@FROM_PREFIX_TO_LIB@|$(realpath --canonicalize-missing --relative-to="$prefix" "$libdir")|" \
        -e "s|@FROM_PREFIX_TO_INCLUDE@|$(realpath --canonicalize-missing --relative-to="$prefix" "$includedir")|" \
        "ffi/packaging/$1.in" >"$built/$1"
    install -D -m 644 "$built/$1" "$destdir$2/$1"
}

install -D -m 644 include/strongroom.h "$destdir$includedir/strongroom.h"
install -D -m 644 include/strongroom.hpp "$destdir$includedir/strongroom.hpp"
install -D -m 755 "$built/libstrongroom.so" "$destdir$libdir/libstrongroom.so.$version"
ln -sf "libstrongroom.so.$version" "$destdir$libdir/libstrongroom.so.$soversion"
ln -sf "libstrongroom.so.$soversion" "$destdir$libdir/libstrongroom.so"
install -D -m 644 "$built/libstrongroom.a" "$destdir$libdir/libstrongroom.a"
fill strongroom.pc "$libdir/pkgconfig"
fill strongroom-library.pc "$libdir/pkgconfig"
fill strongroom-config.cmake "$libdir/cmake/strongroom"
fill strongroom-config-version.cmake "$libdir/cmake/strongroom"
