#!/bin/sh
# Changes the code of a module, one place at a time, and lists the changes that no test notices: mutants.sh MODULE [FILE]
#
# The tests run in steps, the fastest first, and each step tries only what those before did not notice. A run that was
# interrupted continues when it is started again; FILE limits it to one source. The sources are changed in place and
# restored: do not edit or build them meanwhile. target/mutants/MODULE/mutants.out/missed.txt has the rest.
set -eu

module=$1
# The sources of each module.
case $module in
balancer) files=core/src/http/balancer.rs ;;
key | cobblestone | protocol) files="core/src/$module/*.rs" ;;
locator | record) files=core/src/$module.rs ;;
remote) files="core/src/storage/remote/*.rs" ;;
sqlite) files="core/src/storage/sqlite/**/*.rs" ;;
token) files="server/src/tokens/*.rs" ;;
*) echo "unknown: $module" >&2 && exit 2 ;;
esac

files=${2:-$files}

# Runs a step: the package whose tests run, then the arguments of `cargo test`.
step() {
    package=$1
    shift
    code=0
    CARGO_INCREMENTAL=1 "${CARGO:-cargo}" mutants --in-place --baseline skip --no-shuffle --iterate --timeout 120 \
        --output "target/mutants/$module" --all-features --file "$files" --test-package "$package" \
        -- "$@" || code=$?
    case $code in 0 | 2 | 3) ;; *) exit "$code" ;; esac # 2: some are missed, 3: some took too long
}

mkdir -p "target/mutants/$module"
case $module in
token) step strongroom-server --lib ;;
*) step strongroom --lib ;;
esac
case $module in
balancer) step strongroom-server --test services -- balancing:: discovery:: proxy:: ;;
cobblestone) step strongroom --test encryption ;;
key) step strongroom --test library -- opening:: operations:: ;;
locator | record)
    step strongroom --test encryption
    step strongroom --test library -- expiry:: namespaces:: operations:: rotation::
    ;;
protocol | remote)
    step strongroom --test hostile_service
    step strongroom-server --test services -- remote_storage:: client:: batches::
    ;;
sqlite)
    step strongroom --test library -- sqlite database_files:: verification:: operations:: streams:: many:: take::
    step strongroom --test faults --test interrupts
    step strongroom-faults --test failing_calls -- no_room::
    ;;
token) step strongroom-server --test services -- headers:: revocations:: reload:: ;;
esac
