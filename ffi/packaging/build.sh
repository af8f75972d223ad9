#!/bin/sh
# Builds libstrongroom.so and libstrongroom.a for Linux into a folder: build.sh FOLDER
#
# FEATURES may be --no-default-features: without storage services, and without TLS. BUILD_PROFILE is Cargo's profile,
# by default `release`.
#
# The static library exports only the functions of the header, so its SQLite does not clash with a program's own, nor
# its Rust code with another Rust library.
set -eu
out=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
mkdir -p "$out"
profile=${BUILD_PROFILE:-release}
case $profile in
dev) folder=debug ;;
*) folder=$profile ;;
esac
built=${CARGO_TARGET_DIR:-target}/$folder

. tools/build-flags.sh

${CARGO:-cargo} rustc --quiet --profile "$profile" --locked -p strongroom-ffi ${FEATURES:-} -- \
    --print "native-static-libs=$built/native-static-libs.txt" 2>"$out/messages" || { cat "$out/messages" >&2; exit 1; }
rm "$out/messages"

# Without the libraries that the compiler driver adds by itself: for a fully static program it chooses others.
tr ' ' '\n' <"$built/native-static-libs.txt" | awk '!/^-l(c|gcc_s)$/ && !seen[$0]++' | xargs >"$out/libs.private"

objcopy --strip-unneeded "$built/libstrongroom.so" "$out/libstrongroom.so"

sed -n 's/.*\(strongroom_[a-z_]*\)(.*/\1/p' include/strongroom.h | sort -u >"$out/functions"
ld -r --gc-sections $(sed 's/^/-u /' "$out/functions") -o "$out/strongroom.o" \
    --whole-archive "$built/libstrongroom.a"
# These sections contain the compiler's intermediate code, which confuses other tools.
objcopy --keep-global-symbols="$out/functions" --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
    "$out/strongroom.o"
rm -f "$out/libstrongroom.a"
ar rcsD "$out/libstrongroom.a" "$out/strongroom.o"
rm "$out/strongroom.o" "$out/functions"
