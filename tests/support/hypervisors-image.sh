#!/bin/sh
# The image of a computer on which the tests boot machines by libvirt and LXC: a container, so that their
# bridges, leases and firewall rules touch nothing outside it. In it are libvirt, QEMU, LXC, Vagrant with
# its providers for both, and in /opt/machine what they boot:
#
#   disk.qcow2, vmlinuz, initrd   a small Debian with cloud-init, for QEMU
#   libvirt.box, lxc.box          the same for Vagrant
#
#   hypervisors-image.sh          builds it unless it is there; prints its name
#   hypervisors-image.sh --force  builds it anew
#
# The name ends in a hash of what makes it: an image that is there is the right one. It needs Docker, root,
# the package mirror that this machine's apt uses, and about two minutes.
set -eu
PATH=$PATH:/usr/sbin:/sbin
umask 022

# The last release with all of Vagrant, vagrant-libvirt and vagrant-lxc. Its own QEMU (7.2) breaks newer
# kernels when it emulates a processor, so QEMU is the backport.
HOST_SUITE=bookworm
HOST_PACKAGES=libvirt-daemon-system,libvirt-clients,dnsmasq-base,iptables,iproute2,lxc,vagrant
HOST_PACKAGES=$HOST_PACKAGES,vagrant-libvirt,vagrant-lxc,xorriso,jq,openssh-client,e2fsprogs,procps
for package in qemu-system-x86 qemu-system-common qemu-system-data qemu-utils seabios; do
    HOST_PACKAGES=$HOST_PACKAGES,$package/$HOST_SUITE-backports
done
MACHINE_SUITE=trixie
MACHINE_PACKAGES=linux-image-cloud-amd64,busybox,systemd-sysv,dbus,udev,openssh-server,iproute2,sudo
MACHINE_PACKAGES=$MACHINE_PACKAGES,netbase,cloud-init

say() { echo "hypervisors-image.sh: $*" >&2; }
fail() { say "$@"; exit 1; }

# Where this machine's apt gets Debian from; nothing where it is no Debian.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "Debian" && $4 == "main" { print $1; exit }'
}

# bootstrap ARGUMENT...: without what nobody reads on them.
bootstrap() {
    mmdebstrap --quiet --variant=apt --components=main --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' "$@" >&2
}

build() {
    [ "$(id -u)" = 0 ] || fail "only root may build it"
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: base-image.sh installs it"
    mirror=$(mirror)
    [ -n "$mirror" ] || fail "builds where apt has a mirror of Debian"
    folder=$(mktemp -d)
    trap 'rm -rf --one-file-system "$folder"' EXIT INT TERM
    say "building $image (two minutes)"
    # No initrd is made by the package: ours is a tenth of it.
    INITRD=No bootstrap --include=$MACHINE_PACKAGES \
        --customize-hook="$here/machine-image.sh" $MACHINE_SUITE "$folder/machine.tar" "$mirror" &
    machine=$!
    bootstrap --include="$HOST_PACKAGES" --format=directory $HOST_SUITE "$folder/host" \
        "deb $mirror $HOST_SUITE main" "deb $mirror $HOST_SUITE-backports main" ||
        { kill $machine 2>/dev/null || true; fail "mmdebstrap could not build it: is the package mirror reachable?"; }
    wait $machine || fail "mmdebstrap could not build the machines' disk"
    mkdir -p "$folder/host/opt/machine/root"
    tar -C "$folder/host/opt/machine/root" -xf "$folder/machine.tar" --exclude='./dev/*'
    chroot "$folder/host" sh <"$here/hypervisors-furnish.sh"
    tar -C "$folder/host" -c . |
        docker import --change "LABEL raptor.test-hypervisors=$hash" --change 'CMD ["/bin/sh"]' - "$image" >/dev/null ||
        fail "docker could not import the image"
}

here=$(cd "$(dirname "$0")" && pwd)
command -v docker >/dev/null || fail "docker is missing: run docker.sh start first"
hash=$(cat "$here/hypervisors-image.sh" "$here/hypervisors-furnish.sh" "$here/machine-image.sh" | sha256sum | cut -c 1-12)
image=raptor-test-hypervisors:$hash
# What its programs say is no part of the answer.
if [ "${1:-}" = --force ] || ! docker image inspect "$image" >/dev/null 2>&1; then build >&2; fi
echo "$image"
