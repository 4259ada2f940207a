#!/usr/bin/env bash
# Lets `doctor --fix` mend what it offers, in namespaces whose settings and files are their own.
# Needs root, to make these.
#
# usage: doctor_fix.sh PATH_OF_CONTREE_MCP [USER]
#
# USER is an ordinary user, who gets subordinate ids.
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}" XDG_RUNTIME_DIR
program=$(realpath "$1")
self=$(realpath "$0")

fail() {
    printf '  FAILED: %s\n' "$1" >&2
    exit 1
}

# The checks inside: the first run fails, `--fix` alone changes nothing after a no, `--fix --yes`
# mends, and then a sandbox runs.
if [ "${2-}" = inside ]; then
    name=$3 setting=$4 broken=$5 fixed=$6
    path=/proc/sys/${setting//./\/}
    home=$(mktemp -d)
    trap 'rm -rf "$home"' EXIT
    export HOME=$home CONTREE_DATA_DIR=$home/data CONTREE_STATE_DIR=$home/state
    # The directory of settings that stay belongs to this test alone.
    mkdir -p "$home/etc" /etc/sysctl.d
    mount --bind "$home/etc" /etc/sysctl.d
    echo "# another" >"$home/etc/10-other.conf"
    echo "$broken" >"$path"

    if "$program" doctor >"$home/out" 2>&1; then fail "$name: doctor is content"; fi
    if echo n | "$program" doctor --fix >"$home/out" 2>&1; then fail "$name: mended after a no"; fi
    grep -q "echo $fixed > $path" "$home/out" || fail "$name: the command is not shown: $(cat "$home/out")"
    [ "$(cat "$path")" = "$broken" ] || fail "$name: something changed after a no"
    [ "$(ls "$home/etc")" = 10-other.conf ] || fail "$name: a file was written after a no"

    "$program" doctor --fix --yes >"$home/out" 2>&1 || fail "$name: not mended: $(cat "$home/out")"
    [ "$(cat "$path")" = "$fixed" ] || fail "$name: $setting is $(cat "$path")"
    [ "$(cat "$home/etc/10-other.conf")" = "# another" ] || fail "$name: another file was changed"
    [ "$(cat "$home/etc/"60-contree-*.conf)" = "$setting = $fixed" ] || fail "$name: not set for later"
    [ "$("$program" call --raw run image=tag:host 'command=echo 42')" = 42 ] || fail "$name: no sandbox runs"

    # A file of an administrator stays, also if the setting is wrong again.
    echo "# mine" >"$(echo "$home/etc/"60-contree-*.conf)"
    echo "$broken" >"$path"
    "$program" doctor --fix --yes >"$home/out" 2>&1 || fail "$name: not mended again: $(cat "$home/out")"
    [ "$(cat "$home/etc/"60-contree-*.conf)" = "# mine" ] || fail "$name: an existing file was replaced"
    printf '  %s: mended\n' "$name"
    exit
fi

# Subordinate ids. An overlay over /etc takes the changes.
if [ "${2-}" = ids ]; then
    user=$3 work=$4
    mount -t overlay overlay -o "lowerdir=/etc,upperdir=$work/upper,workdir=$work/work" /etc
    sed -i "/^$user:/d" /etc/subuid /etc/subgid
    printf 'somebody:700000:65536\n' >>/etc/subuid
    cp /etc/subuid "$work/before"
    as_user() { setpriv --reuid="$user" --regid="$user" --init-groups env HOME="$work/home" USER="$user" CONTREE_DATA_DIR="$work/home/data" CONTREE_STATE_DIR="$work/home/state" "$@"; }
    shown=$(as_user "$program" doctor --fix </dev/null 2>&1) || true
    command=$(sed -n 's/^    \(usermod .*\)$/\1/p' <<<"$shown" | head -1)
    [ -n "$command" ] || fail "no subordinate ids are offered: $shown"
    cmp /etc/subuid "$work/before" || fail "the ids changed without a yes"
    # An ordinary user would run this by sudo.
    sh -ec "$command"
    grep -q '^somebody:700000:65536$' /etc/subuid || fail "another range was changed"
    after=$(as_user "$program" doctor 2>&1) || fail "doctor: $after"
    grep -q 'fine  *id map' <<<"$after" || fail "the ids are not used: $after"
    undo=$(sed -n 's/^  To take it back: \(usermod .*\)$/\1/p' <<<"$shown" | head -1)
    sh -ec "$undo"
    cmp /etc/subuid "$work/before" || fail "the range cannot be taken back"
    printf '  subordinate ids: mended, and taken back\n'
    exit
fi

[ "$(id -u)" = 0 ] || { echo "doctor_fix.sh needs root" >&2; exit 1; }
printf 'doctor --fix\n'
# A user namespace with all ids. Its process waits until they are mapped, and starts again, since a
# program that starts without a mapped id has no rights.
pipes=$(mktemp -d)
mkfifo "$pipes/ready" "$pipes/go"
unshare --user --mount --propagation private sh -c '
    echo ready >"$1/ready" && read -r _ <"$1/go" && shift && exec bash "$@"' sh "$pipes" \
    "$self" "$program" inside 'no user namespaces' user.max_user_namespaces 0 15000 &
read -r _ <"$pipes/ready"
for map in uid_map gid_map; do echo '0 0 4294967295' >"/proc/$!/$map"; done
echo go >"$pipes/go"
wait $!
rm -r "$pipes"
if [ -e /proc/sys/vm/memfd_noexec ]; then
    unshare --mount --pid --fork --kill-child --mount-proc bash "$self" "$program" inside \
        'no programs in memory' vm.memfd_noexec 2 1
fi
if [ $# -ge 2 ]; then
    work=$(mktemp -d /var/tmp/contree-fix.XXXXXX)
    trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
    chmod 755 "$work"
    mkdir "$work/upper" "$work/work" "$work/home"
    chown "$2:" "$work/home"
    unshare --mount --propagation private bash "$self" "$program" ids "$2" "$work"
fi
