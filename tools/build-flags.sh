# Makes the compiler name sources by where they belong, not by where they lie: builds in two folders are identical.
# Sourced in the repository's folder. The same flags as for the Python package (python/build_backend.py), so that most
# dependencies are built once for all.
separator=$(printf '\037')
if [ -z "${CARGO_ENCODED_RUSTFLAGS+set}" ]; then
    CARGO_ENCODED_RUSTFLAGS=$(printf %s "${RUSTFLAGS:-}" | tr -s ' ' "$separator")
fi
for name in "$(pwd -P)=strongroom" "$(realpath "${CARGO_HOME:-$HOME/.cargo}")=cargo" \
    "$(${RUSTC:-rustc} --print sysroot)=rust"; do
    flag=--remap-path-prefix=$name
    case $separator$CARGO_ENCODED_RUSTFLAGS$separator in
    *"$separator$flag$separator"*) ;; # set by the caller
    *) CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS:+$CARGO_ENCODED_RUSTFLAGS$separator}$flag ;;
    esac
done
export CARGO_ENCODED_RUSTFLAGS
