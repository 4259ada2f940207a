#!/usr/bin/env bash
# Runs the Inspector's command line against the server, over stdio and over HTTP.
#
# usage: inspector.sh PATH_OF_CONTREE_MCP DIRECTORY_WITH_NODE_MODULES
#
# Needs node >= 22 on PATH.
set -euo pipefail
program=$1
inspector=$2/node_modules/.bin/mcp-inspector
scratch=$(mktemp -d)
server=
clean_up() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    chmod -R u+rwx "$scratch" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT
# The Inspector passes only a few variables to the server. HOME is one of them.
unset "${!CONTREE_@}" "${!XDG_@}"
export HOME=$scratch

# has WHAT TEXT ARGS...: runs the Inspector with ARGS and looks for TEXT in its output.
has() {
    local what=$1 text=$2 found
    shift 2
    if ! found=$(node "$inspector" --cli "$@" 2>"$scratch/inspector"); then
        printf 'inspector.sh: %s failed: %s %s\n' "$what" "$found" "$(cat "$scratch/inspector")" >&2
        exit 1
    fi
    if ! grep -qF -- "$text" <<<"$found"; then
        printf 'inspector.sh: %s lacks %s: %s\n' "$what" "$text" "$found" >&2
        exit 1
    fi
    printf '  %s\n' "$what"
}

session() {
    has "tools/list" '"set_tag"' "$@" --method tools/list
    has "tools/call run" '42\n' "$@" --method tools/call --tool-name run --tool-args-json '{"image": "tag:host", "command": "sleep 3; echo $((6*7))"}'
    has "tools/call list_images" '"host"' "$@" --method tools/call --tool-name list_images
    has "prompts/get" 'make test' "$@" --method prompts/get --prompt-name run-shell --prompt-args 'command=make test'
    has "resources/read" 'contree' "$@" --method resources/read --uri contree://guide/reference
}

# Both generations of the protocol. The newer one turns a call of three seconds into a task.
printf 'Inspector over stdio\n'
session "$program"
session "$program" --protocol-era modern
"$program" --mode http --http-port 0 2>"$scratch/stderr" &
server=$!
for _ in $(seq 300); do
    url=$(sed -n 's|.*MCP at \(http://[^,]*\),.*|\1|p' "$scratch/stderr")
    if [ -n "$url" ]; then break; fi
    sleep 0.1
done
printf 'Inspector over HTTP\n'
session "$url" --transport http
session "$url" --transport http --protocol-era modern
