#!/usr/bin/env bash
# Makes environments in which no sandbox can run. In each, `doctor` and the first run must report
# the reason in one sentence with the remedy, and everything that needs no sandbox must keep
# working. Needs root, to make the environments. They end with the namespaces they are made in.
#
# usage: unavailable.sh PATH_OF_CONTREE_MCP
#
# Not tested: AppArmor's restriction, since only a kernel with AppArmor has it, and network file
# systems.
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}"
program=$(realpath "$1")
self=$(realpath "$0")

# inside NAME LOOKS WANTED [HOME]: runs the checks in the environment. LOOKS is yes if the engine
# can look into images there. The sentence must contain WANTED.
if [ "${2-}" = inside ]; then
    name=$3 looks=$4 wanted=$5
    home=${6:-$(mktemp -d)}
    export HOME=$home CONTREE_DATA_DIR=$home/data CONTREE_STATE_DIR=$home/state
    problems=0
    wrong() {
        printf '  %s: %s\n' "$name" "$1"
        problems=$((problems + 1))
    }
    # call STATUS TOOL ARG...: writes output and errors to files, and compares the status.
    call() {
        local expected=$1 status=0
        shift
        "$program" call "$@" >"$home/out" 2>"$home/err" </dev/null || status=$?
        [ "$status" = "$expected" ] || wrong "$* ended with $status instead of $expected: $(cat "$home/out" "$home/err")"
    }

    if "$program" doctor >"$home/doctor" 2>&1 </dev/null; then wrong "doctor says that all is well"; fi
    report=$(tr -s ' \n' '  ' <"$home/doctor")
    grep -q 'missing' <<<"$report" || wrong "doctor names nothing that is missing: $report"
    grep -qF -- "$wanted" <<<"$report" || wrong "doctor does not say '$wanted': $report"

    call 1 run image=tag:host command=true
    sentence=$(cat "$home/err")
    grep -qF -- "$wanted" <<<"$sentence" || wrong "run does not say '$wanted': $sentence"
    [ "$(wc -l <<<"$sentence")" = 1 ] || wrong "run says more than one sentence: $sentence"
    call 125 --raw run image=tag:host command=true

    call 0 list_images
    grep -q '"host"' "$home/out" || wrong "list_images does not list the image of this machine: $(cat "$home/out")"
    uuid=$(sed -n 's/.*"uuid": *"\([^"]*\)".*/\1/p' "$home/out" | head -1)
    call 0 get_image image=tag:host
    call 0 set_tag image_uuid="$uuid" tag=somewhere/else
    call 0 get_image image=tag:somewhere/else
    call 0 upload content=hello
    call 0 list_operations
    call 0 whoami
    # Looking into an image needs only a user namespace and an overlay without an upper directory.
    if [ "$looks" = yes ]; then
        call 0 list_files image=tag:host path=/
        call 0 read_file image=tag:host path=/etc/hosts
    else
        call 1 list_files image=tag:host path=/
        grep -qF -- "$wanted" "$home/err" || wrong "list_files does not say '$wanted': $(cat "$home/err")"
    fi

    printf '  %s: %s\n' "$name" "$sentence"
    chmod -R u+rwx "$home" 2>/dev/null || true
    [ -n "${6-}" ] || rm -rf "$home"
    [ "$problems" = 0 ]
    exit
fi

# reports NAME WANTED: doctor names cause and remedy, and the first sentence of a run names the cause
# too. Neither hangs or crashes.
if [ "${2-}" = reports ]; then
    name=$3 wanted=$4
    export CONTREE_DATA_DIR=$HOME/data CONTREE_STATE_DIR=$HOME/state
    logs=$(mktemp -d)
    trap 'rm -rf "$logs"' EXIT
    if "$program" doctor >"$logs/doctor" 2>&1 </dev/null; then
        printf '  %s: doctor says that all is well: %s\n' "$name" "$(cat "$logs/doctor")"
        exit 1
    fi
    grep -A1 -F missing "$logs/doctor" | grep -qF -- "$wanted" || { printf '  %s: doctor: %s\n' "$name" "$(cat "$logs/doctor")"; exit 1; }
    grep -A1 -F missing "$logs/doctor" | grep -qF -- 'CONTREE_DATA_DIR' || { printf '  %s: no remedy: %s\n' "$name" "$(cat "$logs/doctor")"; exit 1; }
    status=0
    "$program" call run image=tag:host command=true >"$logs/out" 2>"$logs/err" </dev/null || status=$?
    [ "$status" = 1 ] || { printf '  %s: run ended with %s\n' "$name" "$status"; exit 1; }
    grep -qE 'CONTREE_DATA_DIR|free some' "$logs/err" || { printf '  %s: run has no remedy: %s\n' "$name" "$(cat "$logs/err")"; exit 1; }
    printf '  %s: %s\n' "$name" "$(cat "$logs/err")"
    exit
fi

[ "$(id -u)" = 0 ] || { echo "unavailable.sh needs root" >&2; exit 1; }
failures=0

# place NAME LOOKS WANTED COMMAND...: makes the environment with COMMAND, which then runs its last
# arguments, the checks.
place() {
    local name=$1 looks=$2 wanted=$3
    shift 3
    "$@" "$self" "$program" inside "$name" "$looks" "$wanted" || failures=$((failures + 1))
}

printf 'where a sandbox cannot run\n'

place 'no user namespaces' no 'user.max_user_namespaces' \
    unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec bash "$@"' sh

place '/proc mounted over' yes 'parts of /proc are mounted over' \
    unshare --mount --propagation private sh -c 'mount --bind /dev/null /proc/interrupts && mount -t tmpfs -o ro none /proc/irq && exec bash "$@"' sh

place 'memfd_noexec' no 'vm.memfd_noexec' \
    unshare --mount --pid --fork --mount-proc sh -c 'echo 2 > /proc/sys/vm/memfd_noexec && exec bash "$@"' sh

# The data directory is on an overlay, like all files inside a container.
place 'data directory on overlayfs' yes 'cannot hold the writable layer' \
    unshare --mount --propagation private sh -c '
        base=$(mktemp -d /var/tmp/contree-overlay.XXXXXX) && trap "umount \"$base/merged\"; rm -rf \"$base\"" EXIT
        mkdir "$base/lower" "$base/upper" "$base/work" "$base/merged"
        mount -t overlay overlay -o "lowerdir=$base/lower,upperdir=$base/upper,workdir=$base/work" "$base/merged" && bash "$@" "$base/merged"' sh

# In these, nothing can be stored, so only the reports are compared.
report() {
    local name=$1 wanted=$2
    shift 2
    "$@" "$self" "$program" reports "$name" "$wanted" || failures=$((failures + 1))
}

report 'read-only home' 'Read-only file system' \
    unshare --mount --propagation private sh -c '
        base=$(mktemp -d /var/tmp/contree-home.XXXXXX) && trap "umount \"$base/home\"; rm -rf \"$base\"" EXIT
        mkdir "$base/home" && mount -t tmpfs -o ro none "$base/home" && HOME=$base/home bash "$@"' sh

report 'full disk' 'free' \
    unshare --mount --propagation private sh -c '
        base=$(mktemp -d /var/tmp/contree-home.XXXXXX) && trap "umount \"$base/home\"; rm -rf \"$base\"" EXIT
        mkdir "$base/home" && mount -t tmpfs -o size=1m none "$base/home" && { head -c 2000000 /dev/zero >"$base/home/filler" 2>/dev/null || true; } && HOME=$base/home bash "$@"' sh

report 'no inodes' 'inodes' \
    unshare --mount --propagation private sh -c '
        base=$(mktemp -d /var/tmp/contree-home.XXXXXX) && trap "umount \"$base/home\"; rm -rf \"$base\"" EXIT
        mkdir "$base/home" && mount -t tmpfs -o size=900m,nr_inodes=60 none "$base/home" && HOME=$base/home bash "$@"' sh

if [ "$failures" != 0 ]; then
    printf '%d environments failed\n' "$failures"
    exit 1
fi
printf 'in each, doctor and the first run give the reason, and everything else works\n'
