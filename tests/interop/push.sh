#!/usr/bin/env bash
# Pushes images to a real registry with a password, and reads them with other tools: skopeo and
# umoci. A second engine imports and pushes them again, an engine is killed in the middle of a push,
# and 1 GB is pushed in little memory. Needs root and Debian's packages docker-registry, skopeo,
# umoci, apache2-utils, curl and python3. The servers listen on loopback only.
#
# usage: push.sh PATH_OF_CONTREE_MCP [measure]
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}" "${!REGISTRY_@}"
program=$(realpath "$1")
for tool in docker-registry skopeo umoci htpasswd curl python3; do
    if ! command -v "$tool" >/dev/null; then
        printf 'NOT CHECKED: pushing images, since %s is not installed\n' "$tool"
        exit 0
    fi
done
work=$(mktemp -d /var/tmp/contree-push.XXXXXX)
# Ids inside own files of the data directory, and need search permission on the path to it.
chmod 711 "$work"
started=()
problems=0

clean_up() {
    local status=$? pid
    trap - EXIT
    for pid in "${started[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

wrong() {
    printf 'WRONG: %s\n' "$*"
    problems=$((problems + 1))
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

htpasswd -Bbc "$work/htpasswd" alice 'correct horse' 2>/dev/null

# registry NAME: starts a registry, and sets $port and $registry to its port and process.
registry() {
    port=$(free_port)
    printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\nauth: {htpasswd: {realm: test, path: %s}}\n' \
        "$work/$1" "$port" "$work/htpasswd" >"$work/$1.yml"
    docker-registry serve "$work/$1.yml" >"$work/$1.log" 2>&1 &
    registry=$!
    started+=("$registry")
    curl -s --retry 50 --retry-delay 1 --retry-connrefused -o "$work/answer" "http://127.0.0.1:$port/v2/"
}
registry registry

# engine NAME: starts an engine on a data directory of that name, and sets $engine to its process.
engine() {
    rm -f "$work/$1.socket"
    CONTREE_DATA_DIR=$work/$1 CONTREE_STATE_DIR=$work/$1.state "$program" engine serve --listen "unix:$work/$1.socket" --allow-local-imports 2>>"$work/$1.log" &
    engine=$!
    started+=("$engine")
    for _ in $(seq 200); do
        if [ -S "$work/$1.socket" ]; then return 0; fi
        sleep 0.1
    done
    cat "$work/$1.log"
    return 1
}

api() { local name=$1; shift; curl -sS --unix-socket "$work/$name.socket" "$@"; }

field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]) or "")' "$1"; }

# finish ENGINE OPERATION: waits for the end, and prints the record.
finish() {
    api "$1" -N "http://engine/v1/operations/$2/events?follow=1" >/dev/null
    api "$1" "http://engine/v1/operations/$2"
}

# run ENGINE IMAGE COMMAND: runs the command, and prints the new image.
run() {
    local operation
    operation=$(python3 -c 'import json, sys; print(json.dumps({"image": sys.argv[1], "command": sys.argv[2], "shell": True, "disposable": False, "timeout": 600}))' "$2" "$3" |
        api "$1" -H 'content-type: application/json' -d @- http://engine/v1/instances | field uuid)
    finish "$1" "$operation" | field result_image_uuid
}

credentials='"credentials": {"username": "alice", "password": "correct horse"}'

# begin_push ENGINE IMAGE NAME: prints the operation.
begin_push() {
    api "$1" -H 'content-type: application/json' -d "{\"registry\": {\"url\": \"docker://127.0.0.1:$port/$3\", $credentials}}" \
        "http://engine/v1/x/images/$2/push" | field uuid
}

# push ENGINE IMAGE NAME: prints the digest and the numbers of blobs that were sent and present.
push() {
    finish "$1" "$(begin_push "$@")" | python3 -c '
import json, sys
record = json.load(sys.stdin)
push = record.get("x-push")
print(*[push[n] for n in ("digest", "blobs_sent", "blobs_present")] if push else [record["status"], record["error"], "-"])'
}

# import ENGINE NAME: prints the image.
import() {
    local operation
    operation=$(api "$1" -H 'content-type: application/json' -d "{\"registry\": {\"url\": \"docker://127.0.0.1:$port/$2\", $credentials}}" http://engine/v1/images/import | field uuid)
    finish "$1" "$operation" | field result_image_uuid
}

inspect() { skopeo --insecure-policy inspect --tls-verify=false --creds 'alice:correct horse' "$@"; }

"$program" --help >/dev/null
engine one
first=$engine
engine two
second=$engine
host=$(api one 'http://engine/v1/images?tag=host' | python3 -c 'import json, sys; print(json.load(sys.stdin)["images"][0]["uuid"])')
image=$(run one "$host" 'mkdir -p /srv/kept /srv/gone /srv/opaque; echo old >/srv/opaque/old; echo a >/srv/kept/a; ln /srv/kept/a /srv/kept/b; echo x >/srv/gone/x; echo y >/srv/y; chmod 2755 /srv/kept')
image=$(run one "$image" 'rm -r /srv/gone /srv/y /srv/opaque; mkdir /srv/opaque; touch /srv/opaque/n; ln -s kept/a /srv/link; echo z >"/srv/kept/with space"')

refusal=$(api one -H 'content-type: application/json' -d "{\"registry\": {\"url\": \"docker://127.0.0.1:$port/made:0\"}}" "http://engine/v1/x/images/$image/push" | field uuid)
refusal=$(finish one "$refusal" | field error)
[[ $refusal == *"requires credentials"* ]] || wrong "without a password: $refusal"

read -r digest sent present <<<"$(push one "$image" made:1)"
printf 'pushed %s: %s sent, %s present\n' "$digest" "$sent" "$present"
[ "$sent" = 4 ] || wrong "the first push sent $sent blobs"
read -r again sent present <<<"$(push one "$image" made:2)"
[ "$again $sent" = "$digest 0" ] || wrong "the second push: $again $sent"

# Another engine has the same image.
copy=$(import two made:1)
read -r other sent present <<<"$(push two "$copy" made:3)"
[ "$other $sent" = "$digest 0" ] || wrong "the other engine: $other $sent"
[ "$(import one made:3)" = "$image" ] || wrong "the pushed image was imported as another one"
read -r other sent present <<<"$(push two "$copy" other/made:1)"
[ "$other $sent" = "$digest 1" ] || wrong "another repository: $other $sent"

# skopeo and umoci read it.
[ "$(inspect --format '{{.Digest}}' "docker://127.0.0.1:$port/made:1")" = "$digest" ] || wrong "skopeo has another digest"
inspect --config "docker://127.0.0.1:$port/made:1" >"$work/config.json"
python3 - "$work/config.json" <<'PYTHON' || wrong "the configuration"
import json, sys
config = json.load(open(sys.argv[1]))
assert len(config["history"]) == 3 and "kept/with space" in config["history"][2]["created_by"], config["history"]
assert any(line.startswith("PATH=") for line in config["config"]["Env"]), config
PYTHON
skopeo --insecure-policy copy --quiet --src-tls-verify=false --src-creds 'alice:correct horse' "docker://127.0.0.1:$port/made:1" "oci:$work/layout:made"
umoci unpack --image "$work/layout:made" "$work/bundle" >/dev/null
found=$(cd "$work/bundle/rootfs/srv" && find . -mindepth 1 | LC_ALL=C sort | tr '\n' ' ' && stat -c '%a %h' kept kept/a && readlink link)
expected=$'./kept ./kept/a ./kept/b ./kept/with space ./link ./opaque ./opaque/n 2755 2\n644 2\nkept/a'
[ "$found" = "$expected" ] || wrong "umoci unpacked
$found
instead of
$expected"
api one "http://engine/v1/x/images/$image/push" -H 'content-type: application/json' -d "{\"registry\": {\"url\": \"oci-layout:$work/written:made\"}}" | field uuid >"$work/operation"
finish one "$(cat "$work/operation")" >/dev/null
skopeo --insecure-policy copy --quiet "oci:$work/written:made" "docker-archive:$work/written.tar:made:1" || wrong "skopeo cannot read the layout"
api one "http://engine/v1/x/images/$image/push" -H 'content-type: application/json' -d "{\"registry\": {\"url\": \"docker-archive:$work/saved.tar:made:1\"}}" | field uuid >"$work/operation"
finish one "$(cat "$work/operation")" >/dev/null
skopeo --insecure-policy copy --quiet "docker-archive:$work/saved.tar:made:1" "oci:$work/saved:made" || wrong "skopeo cannot read the archive"

# 1 GB, packed and sent in little memory.
large=$(run one "$image" 'head -c 1000000000 /dev/urandom >/srv/large')
# memory PROCESS: prints the most memory that it has used, in KiB.
memory() { awk '/VmHWM/ {print $2}' "/proc/$1/status"; }
before=$(memory "$first")
began=$(date +%s%N)
operation=$(begin_push one "$large" large:1)
finish one "$operation" >"$work/record"
printf '1 GB after %d ms\n' $((($(date +%s%N) - began) / 1000000))
[ "$(field status <"$work/record")" = SUCCESS ] || wrong "1 GB: $(field error <"$work/record")"
growth=$(($(memory "$first") - before))
printf 'memory grew by %d KiB\n' "$growth"
[ "$growth" -lt 65536 ] || wrong "1 GB took $growth KiB of memory"

# The other engine imports it in as little.
before=$(memory "$second")
[ "$(import two large:1)" != '' ] || wrong "1 GB cannot be imported"
growth=$(($(memory "$second") - before))
printf 'memory grew by %d KiB during the import\n' "$growth"
[ "$growth" -lt 65536 ] || wrong "the import of 1 GB took $growth KiB of memory"

# An engine that is killed during a push leaves no image, and a repeat sends the rest.
large=$(run one "$image" 'head -c 300000000 /dev/urandom >/srv/more')
for milliseconds in 100 400 1000 2000 3000; do
    operation=$(begin_push one "$large" "killed:$milliseconds")
    sleep "$(awk "BEGIN {print $milliseconds / 1000}")"
    ended=$(api one "http://engine/v1/operations/$operation" | field status)
    kill -KILL "$first"
    wait "$first" 2>/dev/null || true
    if [ "$ended" != SUCCESS ] && [ -e "$work/registry/docker/registry/v2/repositories/killed/_manifests/tags/$milliseconds" ]; then
        # The push may have ended after the question.
        inspect "docker://127.0.0.1:$port/killed:$milliseconds" >/dev/null || wrong "half an image after $milliseconds ms"
    fi
    engine one
    first=$engine
    printf 'killed after %d ms (%s): %s\n' "$milliseconds" "$ended" "$(api one "http://engine/v1/operations/$operation" | field status)"
done
read -r digest sent present <<<"$(push one "$large" killed:last)"
[[ $digest == sha256:* ]] || wrong "the repeat: $digest $sent"
inspect "docker://127.0.0.1:$port/killed:last" >/dev/null || wrong "the repeated push"
for _ in $(seq 100); do
    left=$(find "$work/one/run" -mindepth 1 | wc -l)
    [ "$left" != 0 ] || break
    sleep 0.1
done
[ "$left" = 0 ] || wrong "$left files are left in run/"

# A connection that is cut once in the middle of a blob. The push goes on, and the image is whole.
python3 - "$port" "$work/cutter" <<'PYTHON' &
import os, socket, sys, threading
left, lock = [50_000_000], threading.Lock()

def copy(source, target, counts):
    try:
        while data := source.recv(65536):
            if counts:
                with lock:
                    before, left[0] = left[0], left[0] - len(data)
                if before > 0 >= left[0]:
                    open(sys.argv[2] + ".cut", "w").close()
                    break
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

listener = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[2] + ".new", "w") as out:
    out.write(str(listener.getsockname()[1]))
os.rename(sys.argv[2] + ".new", sys.argv[2])
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=copy, args=(client, server, True), daemon=True).start()
    threading.Thread(target=copy, args=(server, client, False), daemon=True).start()
PYTHON
started+=("$!")
for _ in $(seq 100); do
    if [ -e "$work/cutter" ]; then break; fi
    sleep 0.1
done
direct=$port
port=$(cat "$work/cutter")
read -r digest sent present <<<"$(push one "$large" cut:1)"
port=$direct
printf 'cut in the middle: %s, %s sent\n' "$digest" "$sent"
[ -e "$work/cutter.cut" ] || wrong "no connection was cut"
[ "$(inspect --format '{{.Digest}}' "docker://127.0.0.1:$port/cut:1")" = "$digest" ] || wrong "the push after a cut connection: $digest $sent"

# The time of a push against that of skopeo, from an OCI layout of the same image. Each push has an
# empty registry, since in a known one both would mount the blobs of an earlier push.
if [ "${2-}" = measure ]; then
    skopeo --insecure-policy copy --quiet --src-tls-verify=false --src-creds 'alice:correct horse' "docker://127.0.0.1:$port/large:1" "oci:$work/measured:large"
    operation=$(api two -H 'content-type: application/json' -d "{\"registry\": {\"url\": \"oci-layout:$work/measured:large\"}}" http://engine/v1/images/import | field uuid)
    copy=$(finish two "$operation" | field result_image_uuid)
    for turn in 1 2 3; do
        for who in skopeo ours; do
            registry "$who$turn"
            began=$(date +%s%N)
            if [ "$who" = skopeo ]; then
                skopeo --insecure-policy copy --quiet --dest-tls-verify=false --dest-creds 'alice:correct horse' "oci:$work/measured:large" "docker://127.0.0.1:$port/large:1"
                sent=all
            else
                read -r digest sent present <<<"$(push two "$copy" large:1)"
            fi
            printf '%s: %d ms (%s blobs sent)\n' "$who" $((($(date +%s%N) - began) / 1000000)) "$sent"
            kill "$registry"
            wait "$registry" 2>/dev/null || true
            rm -rf "${work:?}/$who$turn"
        done
    done
fi
if grep -rqF 'correct horse' "$work/one" "$work/two" "$work"/*.log; then wrong "the password is in a data directory or a log"; fi
[ "$problems" = 0 ] && echo "all images were pushed"
