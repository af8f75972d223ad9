#!/bin/sh
# Stores a file, retrieves it, and searches the database for it: `make demo`.
set -eu

program=$PWD/$1
file=$PWD/$2
id='patients/jane-doe/report-2026'
phrase=$(sed -n '3p' "$file" | cut -c 1-30)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export STRONGROOM_STORE=records.db

say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
absent() {
    if grep -c -a -F -e "$1" records.db* >found; then
        echo "FOUND: $1" && cat found && exit 1
    fi
    echo "not in the database, its log or its index key's file: \"$1\""
}

say "Store $2 under an id, and print the only key that opens it:"
echo "\$ strongroom store --id '$id' $2"
"$program" store --id "$id" "$file" | tee key

say "Retrieve it with that key, and compare byte for byte:"
echo "\$ strongroom retrieve --id '$id' --key-file key -o copy"
"$program" retrieve --id "$id" --key-file key -o copy
cmp "$file" copy
echo "identical: $(wc -c <copy) bytes"

say "Search the database for the id, a phrase of the file, and the key:"
ls -l records.db*
grep -q -a -F 'SQLite format 3' records.db && echo "the search finds text that is there: \"SQLite format 3\""
absent "$id"
absent "$phrase"
absent "$(cat key)"

say "Another key does not open the record:"
"$program" key new >other
"$program" retrieve --id "$id" --key-file other -o copy || echo "(exit status $?: WrongKey)"
