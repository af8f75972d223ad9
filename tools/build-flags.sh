# Makes the compiler name sources by where they belong, not by where they lie: builds in two folders are identical.
# Sourced in the repository's folder. The same flags as for the Python package (python/build_backend.py), so that most
# dependencies are built once for all.
separator=$(printf '\037')
if [ -z "${CARGO_ENCODED_RUSTFLAGS+set}" ]; then
    CARGO_ENCODED_RUSTFLAGS=$(printf %s "${RUSTFLAGS:-}" | tr -s ' ' "$separator")
fi
for name in "$(pwd -P)=strongroom" "$(realpath "${CARGO_HOME:-$HOME/.cargo}")=cargo" \
    "$(${RUSTC:-rustc} --print sysroot)=rust"; do
    CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS:+$CARGO_ENCODED_RUSTFLAGS$separator}--remap-path-prefix=$name
done
export CARGO_ENCODED_RUSTFLAGS
