#!/usr/bin/env bash
# Imports and runs images that other tools made (umoci, skopeo, debootstrap). A real registry serves
# them, with and without a password. Needs root, for debootstrap, and Debian's packages
# docker-registry, umoci, skopeo, busybox-static, debootstrap, apache2-utils, curl and python3. The
# servers listen on loopback only. debootstrap downloads packages.
#
# usage: registry.sh PATH_OF_CONTREE_MCP
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}" "${!REGISTRY_@}"
program=$(realpath "$1")
work=$(mktemp -d /var/tmp/contree-registry.XXXXXX)
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

# registry PORT [AUTH]: serves one storage, and waits until it answers.
registry() {
    local port=$1 config=$work/registry-$1.yml answer
    printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n%s\n' \
        "$work/registry" "$port" "${2-}" >"$config"
    docker-registry serve "$config" >"$work/registry-$port.log" 2>&1 &
    started+=($!)
    for _ in $(seq 200); do
        answer=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/v2/" || true)
        case $answer in 200 | 401) return 0 ;; esac
        sleep 0.1
    done
    cat "$work/registry-$port.log"
    return 1
}

# ---- images

# A small image of three layers: files; a change with a whiteout and an opaque directory; an
# environment.
small_image() {
    local root=$work/root oci=$work/oci
    mkdir -p "$root"/{bin,etc,tmp,home/old,srv/kept}
    cp /bin/busybox "$root/bin/busybox"
    for applet in sh ls cat id env stat wc seq sha256sum; do ln -s busybox "$root/bin/$applet"; done
    printf 'root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n' >"$root/etc/passwd"
    echo below >"$root/etc/motd"
    echo old >"$root/home/old/file"
    echo kept >"$root/srv/kept/file"
    ln "$root/srv/kept/file" "$root/srv/kept/other"
    cp /bin/busybox "$root/bin/su"
    chmod 4755 "$root/bin/su"
    chown 33:33 "$root/srv/kept/file"
    umoci init --layout "$oci"
    umoci new --image "$oci:small"
    umoci insert --image "$oci:small" "$root" /
    umoci insert --image "$oci:small" --whiteout /etc/motd
    mkdir "$work/new"
    echo new >"$work/new/file"
    umoci insert --image "$oci:small" --opaque "$work/new" /home
    umoci config --image "$oci:small" --config.env GREETING=hello --config.env PATH=/bin --config.cmd /dropped --config.workingdir /dropped
    copy "oci:$oci:small" "docker://127.0.0.1:$open/team/small:gzip"
    copy --dest-compress-format zstd "oci:$oci:small" "docker://127.0.0.1:$open/team/small:zstd"
    copy "oci:$oci:small" "docker-archive:$work/small.tar:team/small:1"
}

debian_image() {
    bash "$(dirname "$0")/debian_root.sh" "$work/debian" || return 1
    umoci new --image "$work/oci:debian"
    umoci insert --image "$work/oci:debian" "$work/debian" /
    copy "oci:$work/oci:debian" "docker://127.0.0.1:$open/team/debian:bookworm"
}

copy() { skopeo --insecure-policy copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@"; }

# ---- the engine

api() { curl -sS --unix-socket "$work/engine" "$@"; }

# import JSON: prints the completion event of the import's operation.
import() {
    local operation
    operation=$(api -H 'content-type: application/json' -d "$1" http://engine/v1/images/import | python3 -c 'import json, sys; print(json.load(sys.stdin)["uuid"])')
    api -N "http://engine/v1/operations/$operation/events?follow=1" | python3 -c '
import json, sys
for line in sys.stdin:
    if line.startswith("data:"):
        last = json.loads(line[5:])
print(json.dumps(last["data"]))'
}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]) or "")' "$1"; }

# imported NAME JSON: sets $image, or fails with the reason.
imported() {
    local completion start
    start=$(date +%s%N)
    completion=$(import "$2")
    image=$(field result_image_uuid <<<"$completion")
    [ -n "$image" ] || wrong "$1: $completion"
    printf '%s: %s after %d ms\n' "$1" "${image:-no image}" $((($(date +%s%N) - start) / 1000000))
}

# inside IMAGE EXPECTED COMMAND: runs the command, and compares its output.
inside() {
    local output
    output=$(python3 -c 'import json, sys; print(json.dumps({"image": sys.argv[1], "command": sys.argv[2], "shell": True, "disposable": True, "timeout": 60}))' "$1" "$3" |
        api -H 'content-type: application/json' -d @- http://engine/v1/instances | field uuid)
    output=$(api -N "http://engine/v1/operations/$output/events?follow=1" | python3 -c '
import base64, json, sys
for line in sys.stdin:
    if line.startswith("data:"):
        event = json.loads(line[5:])
        data = event["data"]
        if event["type"] in ("stdout", "stderr"):
            text = data["value"] if data["encoding"] == "ascii" else base64.b64decode(data["value"]).decode()
            print(text, end="")
        elif event["type"] == "completion" and data["status"] != "SUCCESS":
            print(data)')
    [ "$output" = "$2" ] || wrong "$3 printed
$output
instead of
$2"
}

open=$(free_port)
htpasswd -Bbc "$work/htpasswd" alice 'correct horse' 2>/dev/null
registry "$open"
closed=$(free_port)
printf 'registries on %s and %s\n' "$open" "$closed"
registry "$closed" "auth: {htpasswd: {realm: test, path: $work/htpasswd}}"
began=$SECONDS
small_image
printf 'the small image: %d s\n' $((SECONDS - began))
began=$SECONDS
debian_image
printf "Debian's image: %d s\n" $((SECONDS - began))

"$program" --help >/dev/null
CONTREE_DATA_DIR=$work/data CONTREE_STATE_DIR=$work/state "$program" engine serve --listen "unix:$work/engine" --allow-local-imports 2>"$work/engine.log" &
started+=($!)
for _ in $(seq 200); do
    if [ -S "$work/engine" ]; then break; fi
    sleep 0.1
done

checks='cat /etc/motd 2>/dev/null || echo gone; ls /home; cat /srv/kept/other; stat -c "%a %u %h" /bin/su /srv/kept/file; echo $GREETING $PWD'
expected=$'gone\nfile\nkept\n4755 0 1\n644 33 2\nhello /'
# The first is downloaded. The other has the same configuration, so it is the same image. Debian's
# is packed with gzip.
for kind in zstd gzip; do
    imported "$kind" "{\"registry\": {\"url\": \"docker://127.0.0.1:$open/team/small:$kind\"}, \"tag\": \"small:$kind\"}"
    inside "tag:small:$kind" "$expected" "$checks"
done
first=$image
imported "the same again" "{\"registry\": {\"url\": \"localhost:$open/team/small:zstd\"}}"
[ "$image" = "$first" ] || wrong "the same image became another: $first and $image"
imported "docker save" "{\"registry\": {\"url\": \"docker-archive:$work/small.tar:team/small:1\"}}"
inside "$image" "$expected" "$checks"
imported "a layout" "{\"registry\": {\"url\": \"oci-layout:$work/oci:small\"}}"
inside "$image" "$expected" "$checks"

url="docker://127.0.0.1:$closed/team/small:gzip"
refusal=$(import "{\"registry\": {\"url\": \"$url\"}}")
[[ $refusal == *"requires credentials"* ]] || wrong "without a password: $refusal"
refusal=$(import "{\"registry\": {\"url\": \"$url\", \"credentials\": {\"username\": \"alice\", \"password\": \"wrong\"}}}")
[[ $refusal == *"did not accept"* ]] || wrong "with a wrong password: $refusal"
imported "with a password" "{\"registry\": {\"url\": \"$url\", \"credentials\": {\"username\": \"alice\", \"password\": \"correct horse\"}}}"

imported Debian "{\"registry\": {\"url\": \"docker://127.0.0.1:$open/team/debian:bookworm\"}, \"tag\": \"debian:bookworm\"}"
inside tag:debian:bookworm $'bookworm\n640 42\ninstall ok installed' \
    '. /etc/os-release; echo $VERSION_CODENAME; stat -c "%a %g" /etc/shadow; dpkg-query -W -f "\${Status}\n" apt'

# An operation removes its run directory after its last event.
for _ in $(seq 100); do
    left=$(find "$work/data/run" -mindepth 1 | wc -l)
    [ "$left" != 0 ] || break
    sleep 0.1
done
[ "$left" = 0 ] || wrong "$left files are left in run/"
if grep -rqF 'correct horse' "$work/data" "$work/engine.log"; then wrong "the password is in the data directory or the log"; fi
[ "$problems" = 0 ] && echo "all images run"
