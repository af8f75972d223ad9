#!/bin/sh
# Builds the packages of the last commit in another folder, and compares them with those in FOLDER: compare.sh FOLDER
set -eu
dist=$(realpath "$1")
cd "$(dirname "$0")/../.."
second=$(mktemp -d)/another-folder
trap 'rm -rf "$(dirname "$second")"' EXIT
git clone --quiet . "$second"
"$second/tools/dist/build.sh" "$second/target/dist"
diff "$dist/SHA256SUMS" "$second/target/dist/SHA256SUMS"
echo "All packages are identical."
