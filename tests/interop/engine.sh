#!/usr/bin/env bash
# Serves the embedded engine on a free port of loopback, with its own token and data directory, and
# runs a command against it:
#
#   engine.sh PROGRAM COMMAND [ARG...]
#
# The command has CONTREE_URL and CONTREE_TOKEN in its environment. The script exits with the
# command's status, or with an error if the engine did not shut down in order.
set -euo pipefail
program=$1
shift
work=$(mktemp -d "${TMPDIR:-/var/tmp}/contree-engine.XXXXXX")
engine=
end() {
    local status=$?
    trap - EXIT
    if [ -n "$engine" ] && kill -TERM "$engine" 2>/dev/null; then
        wait "$engine" || { echo "the engine ended with status $?" >&2; status=1; }
    elif [ -n "$engine" ]; then
        echo "the engine was gone before its time" >&2
        status=1
    fi
    if [ "$status" != 0 ]; then tail -40 "$work/log" >&2; fi
    chmod -R u+rwX "$work"
    rm -rf "$work"
    exit "$status"
}
trap end EXIT
(umask 077; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/token")
CONTREE_DATA_DIR=$work/data CONTREE_STATE_DIR=$work/state "$program" engine serve --listen 127.0.0.1:0 --token-file "$work/token" 2>"$work/log" >&2 &
engine=$!
for _ in $(seq 300); do
    address=$(grep -m 1 -o 'http://127\.0\.0\.1:[0-9]*' "$work/log" || true)
    [ -z "$address" ] || break
    kill -0 "$engine" || exit 1
    sleep 0.1
done
[ -n "$address" ] || { echo "the engine does not say where it listens" >&2; exit 1; }
CONTREE_TOKEN=$(cat "$work/token")
export CONTREE_TOKEN CONTREE_URL=$address NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
"$@"
