#!/usr/bin/env bash
# Runs the protocol's official conformance suite against the server over HTTP, for both generations
# of the protocol.
#
# usage: conformance.sh PATH_OF_CONTREE_MCP_WITH_FIXTURES PATH_OF_CONFORMANCE
#
# Needs node >= 22 on PATH. Build the program with `--features conformance`. The suite is the npm
# package @modelcontextprotocol/conformance.
set -euo pipefail
program=$1
suite=$2
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
server=
clean_up() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    chmod -R u+rwx "$scratch" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT

env -i PATH="$PATH" HOME="$scratch" CONTREE_DATA_DIR="$scratch/data" CONTREE_STATE_DIR="$scratch/state" \
    "$program" --mode http --http-port 0 2>"$scratch/stderr" &
server=$!
for _ in $(seq 300); do
    url=$(sed -n 's|.*MCP at \(http://[^,]*\),.*|\1|p' "$scratch/stderr")
    if [ -n "$url" ]; then break; fi
    sleep 0.1
done
if [ -z "$url" ]; then
    cat "$scratch/stderr" >&2
    exit 1
fi

bad=0
for version in 2025-11-25 2026-07-28; do
    printf 'conformance, protocol %s\n' "$version"
    status=0
    (cd "$scratch" && node "$suite" server --url "$url" --requirements "$version" \
        --expected-failures "$here/conformance.yaml") >"$scratch/$version.log" 2>&1 || status=$?
    sed -n '/=== SUMMARY ===/,$p' "$scratch/$version.log"
    if [ "$status" != 0 ]; then
        bad=1
        grep -E -B2 -A6 'FAILURE|failed' "$scratch/$version.log" | head -80 || true
    fi
done
exit "$bad"
