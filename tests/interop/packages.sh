#!/usr/bin/env bash
# Installs packages on the embedded engine. The script makes a Debian with debootstrap, imports it,
# and runs apt-get and pip in it through the egress proxy. Meanwhile no command may reach a service
# on this machine's 127.0.0.1. Needs root, debootstrap, python3, curl and access to the package
# registries.
#
# usage: packages.sh PATH_OF_CONTREE_MCP [USER...]
#
# After root, each USER does the same on the same root filesystem.
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}" XDG_RUNTIME_DIR
program=$(realpath "$1")
shift
work=$(mktemp -d /var/tmp/contree-packages.XXXXXX)
chmod 755 "$work"
servers=()
clean_up() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
    chmod -R u+rwx "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

# Behind a company's proxy, mirrors may have private addresses. Rules allow that.
registries=(deb.debian.org pypi.org files.pythonhosted.org)
allow='*'
for name in "${registries[@]}"; do allow+=",$name+private"; done

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

printf -- '--- a Debian\n'
bash "$(dirname "$0")/debian_root.sh" "$work/root" || fail "debootstrap"
tar -C "$work/root" --one-file-system --numeric-owner -cf "$work/debian.tar" .
rm -rf "$work/root"

# A service of this machine. Every connection to it leaves a line in a file.
cat >"$work/service.py" <<'PYTHON'
import socket, sys, threading

trace, announce = sys.argv[1:]
first = socket.create_server(("127.0.0.1", 0))
port = first.getsockname()[1]
listeners = [first]
try:
    listeners.append(socket.create_server(("::1", port), family=socket.AF_INET6))
except OSError:
    pass

def serve(listener):
    while True:
        listener.accept()[0].close()
        with open(trace, "a") as out:
            out.write("reached\n")

for listener in listeners[1:]:
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
with open(announce, "w") as out:
    out.write(str(port))
serve(first)
PYTHON
python3 "$work/service.py" "$work/reached" "$work/port" &
servers+=($!)
until [ -s "$work/port" ]; do sleep 0.05; done
port=$(cat "$work/port")

# This runs inside, and tries every spelling, directly and through the proxy.
cat >"$work/reach.py" <<'PYTHON'
import http.client, socket, sys, urllib.error, urllib.request

port = int(sys.argv[1])
spellings = """127.0.0.1 127.0.0.1. localhost LOCALHOST localhost. x.localhost 127.1 127.0.1 2130706433 0x7f000001 0x7f.0.0.1 0177.0.0.1 0 0.0.0.0 127.8.8.8
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] allowed@127.0.0.1 127.0.0.1%2e
169.254.169.254 10.0.0.1 metadata.google.internal""".split()
reached = []
for host in spellings:
    bare = host.strip("[]")
    try:
        socket.create_connection((bare, port), timeout=5).close()
        reached.append(f"direct {host}")
    except (OSError, UnicodeError):
        pass
    for method in ("CONNECT", "GET"):
        target = f"{host}:{port}" if method == "CONNECT" else f"http://{host}:{port}/"
        with socket.create_connection(("127.0.0.1", 3128), timeout=30) as proxy:
            proxy.sendall(f"{method} {target} HTTP/1.1\r\nHost: allowed.example\r\nConnection: close\r\n\r\n".encode())
            line = proxy.makefile("rb").readline().decode("latin-1").strip()
        if not line.startswith(("HTTP/1.1 403 Forbidden by sandbox policy: ", "HTTP/1.1 400 ")):
            reached.append(f"{method} {target}: {line}")
# urllib as tools use it. no_proxy sends these to the sandbox's own loopback.
for host in ("127.0.0.1", "localhost", "[::1]"):
    try:
        urllib.request.urlopen(f"http://{host}:{port}/", timeout=10)
        reached.append(f"urllib {host}")
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        pass
print("\n".join(reached) if reached else "held")
PYTHON

everything() {
    local name=$1 home=$2 output operation
    shift 2
    local as=("$@" env HOME="$home" CONTREE_DATA_DIR="$home/data" CONTREE_STATE_DIR="$home/state" CONTREE_EGRESS_ALLOW="$allow")
    run() { "${as[@]}" "$program" call --raw run timeout=300 "$@"; }
    kept() { "${as[@]}" "$program" call run disposable=false timeout=300 truncate_output_at=60000 "$@" >"$work/answer"; }
    field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], ""))' "$work/answer" "$1"; }

    printf -- '--- %s: import\n' "$name"
    "${as[@]}" "$program" engine serve --listen "unix:$home/engine" --allow-local-imports 2>"$work/serve.log" &
    local server=$!
    servers+=("$server")
    until [ -S "$home/engine" ]; do
        kill -0 "$server" 2>/dev/null || { cat "$work/serve.log"; fail "engine serve ended"; }
        sleep 0.05
    done
    ask() { curl -sS --max-time 300 --unix-socket "$home/engine" -H 'Content-Type: application/json' "http://localhost/v1$1" "${@:2}"; }
    ask /images/import -d "{\"registry\": {\"url\": \"rootfs:$work/debian.tar\"}, \"tag\": \"debian\"}" >"$work/answer"
    operation=$(field uuid)
    [ -n "$operation" ] || fail "the import was not taken: $(cat "$work/answer")"
    ask "/operations/$operation/events?follow=1" | grep '"type":"completion"' | grep -q SUCCESS ||
        fail "the import: $(ask "/operations/$operation")"
    kill "$server"
    wait "$server" || true

    printf -- '--- %s: apt-get\n' "$name"
    kept image=tag:debian 'command=set -e
        apt-get update 2>&1
        apt-get install -y --no-install-recommends uuid-runtime 2>&1
        getent passwd uuidd'
    if [ "$(field exit_code)" != 0 ]; then
        # With a single id nothing can belong to another user: then that is what the result says.
        if [ "$name" = single ] && field stderr | grep -q 'contree: this sandbox has a single user id'; then
            printf 'degraded, and says so: %s\n' "$(field stderr | tail -1)"
        else
            field stdout | tail -20
            field stderr | tail -5
            fail "$name: apt-get install"
        fi
    else
        field stdout | grep '^uuidd:'
    fi
    # All files of pip's packages belong to root. The image has no certificates yet, so the engine
    # lends it this machine's, which may include that of a mirror.
    printf -- '--- %s: pip\n' "$name"
    kept image=tag:debian 'command=set -e
        test ! -e /etc/ssl/certs/ca-certificates.crt
        test -s "$PIP_CERT"
        apt-get update >/dev/null
        apt-get install -y --no-install-recommends python3-pip >/dev/null
        pip install --quiet --root-user-action=ignore --break-system-packages six
        python3 -c "import six; print(six.__name__)"'
    if [ "$(field exit_code)" != 0 ] || [ "$(field stdout | grep -c '^six$')" != 1 ]; then
        field stdout | tail -5
        field stderr | tail -5
        fail "$name: pip install"
    fi
    local image
    image=$(field result_image_uuid)

    printf -- '--- %s: what must not be reached\n' "$name"
    output=$(run "image=$image" "command=python3 - $port" "stdin=@$work/reach.py" 2>"$work/err") || true
    printf '%s\n' "$output"
    [ "$output" = held ] || fail "$name: something was reached"
    tail -1 "$work/err"
    grep -q '^contree: .* connections were denied by the network policy' "$work/err" || fail "$name: the result does not say what was denied"
    [ ! -e "$work/reached" ] || fail "$name: the service was reached"
}

mkdir "$work/home"
everything root "$work/home"
for user in "$@"; do
    mkdir "$work/home-$user"
    chown "$user:" "$work/home-$user"
    name=$user
    case $user in *one* | *single*) name=single ;; esac
    everything "$name" "$work/home-$user" runuser -u "$user" -- env -i PATH="$PATH"
done

# The service does answer, so an empty file shows that no command reached it.
curl -sS --max-time 5 "http://127.0.0.1:$port/" >/dev/null 2>&1 || true
sleep 0.2
[ -s "$work/reached" ] || fail "the service of this machine does not work, so nothing was shown"
printf 'packages install, and this machine cannot be reached\n'
