#!/usr/bin/env bash
# Installs the Debian package in a fresh Debian, as a new user would: a sandbox runs, an MCP client
# is set up, and everything goes away again. Needs root, debootstrap and access to a mirror.
#
# usage: debian.sh PACKAGE
set -euo pipefail
unset "${!CONTREE_@}" "${!NEBIUS_@}" XDG_RUNTIME_DIR
package=$(realpath "$1")
work=$(mktemp -d /var/tmp/contree-debian.XXXXXX)
root=$work/root
clean_up() {
    chmod -R u+rwx "$work" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
chmod 755 "$work"
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

printf -- '--- a Debian\n'
bash "$(dirname "$0")/debian_root.sh" "$root" || fail "debootstrap"
cp "$package" "$root/package.deb"

# inside COMMAND...: runs a command in the Debian, in namespaces of its own, so that nothing stays.
# The Debian becomes the root, since a process in a chroot may make no user namespace.
inside() {
    unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1; shift
        mount --bind "$root" "$root"
        cd "$root"
        mount -t proc proc proc
        mount --rbind /dev dev
        mkdir -p outside
        pivot_root . outside
        exec chroot . env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            sh -ec "umount -l /outside && exec \"\$@\"" sh "$@"' inside "$root" "$@"
}

inside bash -euc '
    printf -- "--- install\n"
    dpkg -i /package.deb
    contree-mcp --version
    test -e /usr/lib/systemd/user/contree-engine.service
    test -e /usr/share/contree-mcp/apparmor/contree-mcp
    # This Debian has no AppArmor, so it gets no profile.
    test ! -e /etc/apparmor.d/contree-mcp

    printf -- "--- a sandbox, as root\n"
    output=$(contree-mcp call --raw run image=tag:host "command=uname -s; id -u")
    printf "%s\n" "$output"
    test "$output" = "$(printf "Linux\n0")"

    printf -- "--- an ordinary user\n"
    useradd --create-home --shell /bin/bash me
    install -d -o me -g me /home/me/.cursor
    printf "{\n  // mine\n  \"mcpServers\": {}\n}\n" >/home/me/.cursor/mcp.json
    chown me: /home/me/.cursor/mcp.json
    cat >/me.sh <<"END"
set -euo pipefail
cd
if ! contree-mcp doctor >doctor.txt; then cat doctor.txt; exit 1; fi
output=$(contree-mcp call --raw run image=tag:host "command=echo \$((6*7))")
printf "%s\n" "$output"
test "$output" = 42
cp .cursor/mcp.json before
contree-mcp install cursor --dry-run
cmp .cursor/mcp.json before
contree-mcp install cursor
grep -q /usr/bin/contree-mcp .cursor/mcp.json
cp .cursor/mcp.json once
contree-mcp install cursor
cmp .cursor/mcp.json once
contree-mcp install cursor --uninstall
cmp .cursor/mcp.json before
contree-mcp doctor --report
END
    setpriv --reuid=me --regid=me --init-groups env HOME=/home/me USER=me bash /me.sh

    printf -- "--- remove\n"
    dpkg --purge contree-mcp
    test ! -e /usr/bin/contree-mcp
'
printf 'the package installs, runs a sandbox and goes away again\n'
