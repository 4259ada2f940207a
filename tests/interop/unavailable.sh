#!/usr/bin/env bash
# Places where no sandbox can run, made for real: each must be told in one sentence with the remedy, by `doctor` and by the first run, while
# everything that needs no sandbox goes on working. Needs root, to make the places; nothing outlives the namespaces they are made in.
#
# usage: unavailable.sh PATH_OF_CONTREE_MCP
#
# Not here: AppArmor's restriction, which only a kernel with AppArmor has, and network file systems.
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}"
program=$(realpath "$1")
self=$(realpath "$0")

# inside NAME LOOKS WANTED [HOME]: the checks, run in the place itself. LOOKS says whether images can be looked into, WANTED is in the sentence.
if [ "${2-}" = inside ]; then
    name=$3 looks=$4 wanted=$5
    home=${6:-$(mktemp -d)}
    export HOME=$home CONTREE_DATA_DIR=$home/data CONTREE_STATE_DIR=$home/state
    problems=0
    wrong() {
        printf '  %s: %s\n' "$name" "$1"
        problems=$((problems + 1))
    }
    # call STATUS TOOL ARG...: output and errors in files, and the status compared.
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
    # Looking into an image needs a user namespace and an overlay without a writable layer, and no more.
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

[ "$(id -u)" = 0 ] || { echo "unavailable.sh needs root" >&2; exit 1; }
failures=0

# place NAME LOOKS WANTED COMMAND...: the command ends by running its arguments, which are the checks.
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

# The data directory is on an overlay, as everything inside a container is.
place 'data directory on overlayfs' yes 'cannot hold the writable layer' \
    unshare --mount --propagation private sh -c '
        base=$(mktemp -d /var/tmp/contree-overlay.XXXXXX) && trap "umount \"$base/merged\"; rm -rf \"$base\"" EXIT
        mkdir "$base/lower" "$base/upper" "$base/work" "$base/merged"
        mount -t overlay overlay -o "lowerdir=$base/lower,upperdir=$base/upper,workdir=$base/work" "$base/merged" && bash "$@" "$base/merged"' sh

if [ "$failures" != 0 ]; then
    printf '%d places failed\n' "$failures"
    exit 1
fi
printf 'in each, doctor and the first run say why, and what needs no sandbox goes on\n'
