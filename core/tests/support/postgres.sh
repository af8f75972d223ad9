#!/bin/sh
# A PostgreSQL server for tests:
# postgres.sh shared FOLDER PORT, init FOLDER [LOG-FOLDER], standby FOLDER PRIMARY'S-SOCKET-FOLDER PRIMARY'S-PORT, run FOLDER PORT
#
# STRONGROOM_TEST_POSTGRES is the folder of another version's programs.
# `shared` runs it until no process has had a lock on FOLDER/users for some seconds, and writes its port to FOLDER/port.
# `run` runs it in the foreground, and ends with its parent. The server accepts every user on its Unix socket in FOLDER,
# and asks for a password on TCP.
set -eu

mode=$1
folder=$2
bin=${STRONGROOM_TEST_POSTGRES:-$(for bin in /usr/lib/postgresql/*/bin; do echo "$bin"; done | sort -V | tail -n 1)}

# PostgreSQL refuses to run as root.
as() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups --pdeathsig KILL -- "$@"
    else
        setpriv --pdeathsig KILL -- "$@"
    fi
}

new_data() {
    # Children of a killed server may still write.
    until rm -rf "$folder/data"; do sleep 0.1; done
    mkdir "$folder/data"
    chmod 700 "$folder/data"
    [ "$(id -u)" != 0 ] || chown postgres "$folder/data"
}

init() {
    new_data
    as "$bin/initdb" -D "$folder/data" ${1:+-X "$1"} -U strongroom -A trust -N -E UTF8 --no-locale >"$folder/log" 2>&1
    rules="local all,replication all trust
host all all 127.0.0.1/32 scram-sha-256"
    echo "$rules" | as sh -c 'cat >"$1"' sh "$folder/data/pg_hba.conf"
}

run() {
    exec 9>&-
    # The folder belongs to the test's user, so the socket is in that of the data.
    as "$bin/postgres" -D "$folder/data" -k "$folder/data" -p "$1" -c listen_addresses=127.0.0.1 \
        -c max_connections=300 -c max_wal_size=4GB >>"$folder/log" 2>&1
}

case $mode in
init) init "${3-}" ;;
standby)
    new_data
    as "$bin/pg_basebackup" -h "$3" -p "$4" -U strongroom -D "$folder/data" -R -c fast >>"$folder/log" 2>&1
    ;;
run) run "$3" ;;
shared)
    init ""
    run "$3" &
    server=$!
    for _ in $(seq 600); do
        ! "$bin/pg_isready" -q -h 127.0.0.1 -p "$3" || break
        sleep 0.1
    done
    echo "$3" >"$folder/port.new"
    mv "$folder/port.new" "$folder/port"
    while kill -0 $server 2>/dev/null; do
        flock -x "$folder/users" true
        sleep 5
        exec 9<"$folder/users"
        if flock -n -x 9; then
            rm -f "$folder/port"
            pid=$(head -n 1 "$folder/data/postmaster.pid")
            kill -QUIT "$pid" && wait $server || true
            rm -rf "$folder/data"
            exit 0
        fi
        exec 9<&-
    done
    rm -f "$folder/port"
    ;;
esac
