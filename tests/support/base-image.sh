#!/bin/sh
# The image of the tests' hosts: a small Debian with sshd, built from packages, so that it needs a
# package mirror (the one this machine's apt uses) and no image registry.
#
#   base-image.sh          builds it unless it is there; prints its name
#   base-image.sh --force  builds it anew
#
# The name ends in a hash of this file and the suite: an image that is there is the right one.
set -eu
PATH=$PATH:/usr/sbin:/sbin
umask 022

PACKAGES=openssh-server,iproute2,iptables,ca-certificates,sudo,systemd-sysv,dbus,systemd-resolved
WANTED_SUITE=trixie

say() { echo "base-image.sh: $*" >&2; }
fail() { say "$@"; exit 1; }

# What this machine's apt says about its main package index; empty when it has none for that origin.
mirror_of() {
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)' 'Created-By: Packages' |
        awk -v origin="$1" '$2 == origin && $3 == origin && $4 == "main" { print $1; exit }'
}

# Sets `suite`, `mirror` and `components`.
choose_suite() {
    . /etc/os-release
    if [ "${ID:-}" = debian ] && [ -e /usr/share/keyrings/debian-archive-$WANTED_SUITE-stable.gpg ]; then
        suite=$WANTED_SUITE components=main mirror=$(mirror_of Debian)
    elif [ "${ID:-}" = debian ]; then
        suite=${VERSION_CODENAME:-$WANTED_SUITE} components=main mirror=$(mirror_of Debian)
    elif [ "${ID:-}" = ubuntu ]; then
        suite=${VERSION_CODENAME:?} components=main,universe mirror=$(mirror_of Ubuntu)
    else
        fail "builds on Debian and Ubuntu only; set RAPTOR_TEST_IMAGE to an image with sshd"
    fi
}

install_builder() {
    command -v mmdebstrap >/dev/null && return
    [ "$(id -u)" = 0 ] || fail "mmdebstrap is missing and only root may install it: apt-get install mmdebstrap"
    say "installing mmdebstrap"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2 && apt-get -qq install -y --no-install-recommends mmdebstrap >&2 ||
        fail "apt-get could not install mmdebstrap"
}

# Host keys are left out: each container makes its own when it first boots.
build() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT INT TERM
    say "building $image ($suite, about 20 s)"
    # Without a mirror argument mmdebstrap takes the distribution's default.
    # shellcheck disable=SC2086
    mmdebstrap --quiet --variant=apt --include=$PACKAGES --components=$components \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
        --customize-hook='mkdir -p "$1/run/sshd"' \
        --customize-hook='chroot "$1" systemctl --quiet mask systemd-modules-load.service \
            systemd-udevd.service systemd-networkd.service console-getty.service getty.target &&
            chroot "$1" systemctl --quiet disable systemd-resolved.service &&
            rm -f "$1/etc/resolv.conf"' \
        "$suite" "$folder/root.tar" ${mirror:+"$mirror"} >&2 ||
        fail "mmdebstrap could not build the image: is the package mirror reachable?"
    docker import --change "LABEL raptor.test-base=$hash" --change 'CMD ["/bin/sh"]' \
        --message 'test hosts of raptor' "$folder/root.tar" "$image" >/dev/null ||
        fail "docker could not import the image"
    docker tag "$image" raptor-test-base:latest
}

command -v docker >/dev/null || fail "docker is missing: run docker.sh start first"
choose_suite
hash=$({ cat "$0"; echo "$suite"; } | sha256sum | cut -c 1-12)
image=raptor-test-base:$hash
if [ "${1:-}" = --force ] || ! docker image inspect "$image" >/dev/null 2>&1; then
    install_builder
    build
fi
echo "$image"
