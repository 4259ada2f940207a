#!/usr/bin/env bash
# Makes the stored data of a release: what tests/it/stored.rs opens with each later program.
#
# usage: tests/stored/make.sh PROGRAM NAME
#
# PROGRAM is `contree-mcp` of the release, built for x86-64; NAME names it, as in 2026-11. The result is tests/stored/NAME.tar.zst.
# It holds one tar for each kind of id map: root.tar, sub.tar (a user with subordinate ids) and single.tar (a user without).
# It needs root, gcc, python3, unshare, useradd, newuidmap and zstd.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The records name the machine, which is nobody's business.
if [ "${1-}" != --inside ]; then
    exec unshare --uts bash -c 'hostname stored && exec bash "$@"' bash "$here/make.sh" --inside "$@"
fi
shift
program=$(readlink -f "$1") name=$2

# No user's settings say whether these files can be read.
umask 022
work=$(mktemp -d /tmp/contree-stored-XXXXXX)
chmod 755 "$work"
users=()
clean_up() {
    for user in "${users[@]}"; do userdel "$user"; done
    rm -rf "$work"
}
trap clean_up EXIT

cp "$program" "$work/contree-mcp"
cp "$here/session.py" "$work"
gcc -Wall -Wextra -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie -no-pie \
    -Wl,-z,noexecstack,--build-id=none,-s -o "$work/tool" "$here/tool.c"

# pack DIRECTORY: to standard output, with whiteouts, attributes and numeric owners.
pack='tar --create --format=pax --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include="*" --numeric-owner --sort=name -C "$1" data state tree facts.json'

# fill KIND COMMAND...: makes the data as the user that COMMAND runs as.
fill() {
    local kind=$1
    shift
    "$@" python3 "$work/session.py" "$work/contree-mcp" "$work/tool" "$work/$kind/$kind"
}

python=$(python3 -c 'import sys; print(sys.executable)')
mkdir "$work/root"
fill root env
bash -c "$pack" pack "$work/root/root" >"$work/root.tar"

first=$(cat /etc/subuid /etc/subgid 2>/dev/null | awk -F: 'BEGIN { top = 300000 } $2 + $3 > top { top = $2 + $3 } END { print top }')
for kind in sub single; do
    user=contree-stored-$kind
    useradd --no-create-home --home-dir "$work/$kind" --shell /bin/bash "$user"
    users+=("$user")
    sed -i "/^$user:/d" /etc/subuid /etc/subgid 2>/dev/null || true
    if [ "$kind" = sub ]; then
        echo "$user:$first:65536" >>/etc/subuid
        echo "$user:$first:65536" >>/etc/subgid
    fi
    install -d -o "$user" -m 700 "$work/$kind"
    fill "$kind" runuser -u "$user" -- env -i HOME="$work/$kind" PATH="${python%/*}:/usr/sbin:/usr/bin:/sbin:/bin"
done

# Owners are those inside a sandbox: the user itself is 0, and its subordinate ids follow from 1.
uid=$(id -u contree-stored-sub) gid=$(id -g contree-stored-sub)
mkfifo "$work/go"
chmod 666 "$work/go"
# The shell waits in its new user namespace until its ids are mapped.
setpriv --reuid "$uid" --regid "$gid" --clear-groups unshare --user bash -c "read -r < '$work/go'; exec bash -c '$pack' pack '$work/sub/sub'" >"$work/sub.tar" &
namespace=$!
until [ "$(readlink "/proc/$namespace/ns/user")" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.01; done
env printf '0 %d 1\n1 %d 65535\n' "$uid" "$first" >"/proc/$namespace/uid_map"
env printf '0 %d 1\n1 %d 65535\n' "$gid" "$first" >"/proc/$namespace/gid_map"
echo go >"$work/go"
wait "$namespace"
bash -c "$pack" pack "$work/single/single" >"$work/single.tar"

tar --create --format=ustar --numeric-owner --owner=0 --group=0 --mtime=@0 -C "$work" root.tar sub.tar single.tar |
    zstd -q -f -19 --long=24 -o "$here/$name.tar.zst"
ls -l "$work"/*.tar "$here/$name.tar.zst"
