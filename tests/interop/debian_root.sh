#!/usr/bin/env bash
# Makes a small Debian 12 with uidmap in a directory. Needs root, debootstrap and access to a mirror.
# If DEBIAN_CACHE names a directory, the files are kept there for the next call.
#
# usage: debian_root.sh DIRECTORY
set -euo pipefail
root=$1
kept=${DEBIAN_CACHE:-}/bookworm.tar
mkdir -p "$root"
if [ -n "${DEBIAN_CACHE:-}" ] && [ -f "$kept" ]; then
    exec tar --numeric-owner --xattrs -xpf "$kept" -C "$root"
fi
if ! debootstrap --variant=minbase --include=uidmap bookworm "$root" http://deb.debian.org/debian >"$root.log" 2>&1; then
    tail -5 "$root.log"
    exit 1
fi
rm -rf "$root"/var/cache/apt/archives/*.deb "$root.log"
if [ -n "${DEBIAN_CACHE:-}" ]; then
    mkdir -p "$DEBIAN_CACHE"
    tar --numeric-owner --xattrs -cpf "$kept.new" -C "$root" .
    mv "$kept.new" "$kept"
fi
