#!/usr/bin/env bash
# All tests of raptor.
#
#   ./runtests.sh              everything, the slow end-to-end part included
#   ./runtests.sh -1           once, without the end-to-end part
#   ./runtests.sh [-1] NAME    only tests whose name contains NAME
#   ./runtests.sh [-1] ARG...  any arguments of the test runner that may follow its `--`
#
# What the tests need and this computer lacks is installed (Debian, Ubuntu; as root or through a
# sudo that asks nothing). What cannot be had is left out by name and listed at the end. Only what
# this script started is stopped again. Everything but the tests' own summary goes before it.
set -euo pipefail
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin

END_TO_END=yes
if [ "${1:-}" = -1 ]; then
    END_TO_END=no
    shift
fi

RAPTOR_TEST_RUN=run-$$-$(date +%s)
export RAPTOR_TEST_RUN
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

LINT_RUST=1.95 # the release under which the sources are kept free of lints
LEFT_OUT=()    # one line each: what, and why
FAULTS=()      # of the sources: one line each
SKIPPED=()     # arguments of the test runner
STATE_FILE=    # of the Docker engine, when it was asked for

say() { printf '== %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# leave_out WHY PATTERN...: excludes the tests whose names contain a pattern.
leave_out() {
    local why=$1 pattern
    shift
    LEFT_OUT+=("${*:+$*: }$why")
    for pattern in "$@"; do
        SKIPPED+=(--skip "$pattern")
    done
}

# Runs a command as root; fails where that would need a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else have sudo && sudo -n "$@"; fi
}

# install PACKAGE...: 0 when they are there afterwards.
install() {
    have apt-get && as_root true 2>/dev/null || return 1
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install -y --no-install-recommends "$@" >&2
}

# need PROGRAM PACKAGE: 0 when the program is there afterwards.
need() { have "$1" || { install "$2" && have "$1"; }; }

stop_what_we_started() {
    local status=$? id
    trap - EXIT INT TERM
    if have docker && [ -n "$STATE_FILE" ]; then
        # A test that was killed could not take its hosts away.
        for id in $(docker ps -aq --filter "label=raptor.test.run=$RAPTOR_TEST_RUN" 2>/dev/null); do
            docker rm -fv "$id" >/dev/null 2>&1 || true
        done
        for id in $(docker network ls -q --filter "label=raptor.test.run=$RAPTOR_TEST_RUN" 2>/dev/null); do
            docker network rm "$id" >/dev/null 2>&1 || true
        done
        [ "$ENGINE_WAS_THERE" = yes ] || as_root tests/support/docker.sh stop >/dev/null 2>&1 || true
    fi
    exit "$status"
}

check_toolchain() {
    if ! have cargo && [ -r "${HOME:-/nowhere}/.cargo/env" ]; then
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    fi
    have cargo || fail "cargo is missing: install a Rust toolchain (https://rustup.rs), then run this again"
    need cc gcc || fail "no C compiler, which Rust links with: apt-get install gcc libc6-dev"
    # The compiler answers with a path when it knows the file, else with the bare name.
    if [ "$(cc -print-file-name=libc.a)" = libc.a ]; then
        install libc6-dev || fail "no static C library: apt-get install libc6-dev"
    fi
}

# What the end-to-end tests need; each thing that cannot be had takes its tests out.
prepare_end_to_end() {
    need ssh openssh-client ||
        leave_out "no ssh, and no right to install openssh-client" e2e::loopback:: e2e::hosts::
    need sshd openssh-server ||
        leave_out "no sshd, and no right to install openssh-server" e2e::loopback::
    need git git || leave_out "no git, and no right to install it" e2e::modules::
    need yggdrasil yggdrasil ||
        leave_out "no yggdrasil, and no right to install it" e2e::namespaces::external::
    need miniupnpd miniupnpd-nftables ||
        leave_out "no miniupnpd, and no right to install miniupnpd-nftables" \
            e2e::namespaces::ports::
    need tcpdump tcpdump ||
        leave_out "no tcpdump, and no right to install it" e2e::namespaces::clear::
    need ping iputils-ping ||
        leave_out "no ping, and no right to install iputils-ping" \
            e2e::namespaces::external:: e2e::namespaces::interface::
    need nft nftables ||
        leave_out "no nft, and no right to install nftables" \
            e2e::namespaces::interface:: e2e::namespaces::shapes:: e2e::namespaces::chaos::
    need age age || leave_out "no age, and no right to install it" e2e::secrets::age_itself
    need curl curl || leave_out "no curl, and no right to install it" e2e::doors::
    need jq jq || leave_out "no jq, and no right to install it" e2e::hosts::plugin::
    need vagrant vagrant ||
        leave_out "no vagrant, and no right to install it" e2e::hosts::vagrant::
    need cloud-init cloud-init ||
        leave_out "no cloud-init, and no right to install it" cloud_init
    need nft nftables || leave_out "no nft, and no right to install nftables" \
        e2e::namespaces::routers:: e2e::namespaces::ports:: e2e::namespaces::shapes::traffic e2e::namespaces::shapes::a_chain
    prepare_moto
    need ip iproute2 || leave_out "no ip, and no right to install iproute2"
    prepare_docker
    prepare_hypervisors
}

# An EC2 that others wrote. Where Python has no venv its package is installed.
prepare_moto() {
    local folder
    have moto_server || python3 -c 'import ensurepip' 2>/dev/null || install python3-venv || true
    if folder=$(as_root tests/support/moto.sh); then
        PATH=$PATH:$folder
    else
        leave_out "moto could not be installed (see above)" e2e::moto::
    fi
}

prepare_docker() {
    local image
    ENGINE_WAS_THERE=no
    if tests/support/docker.sh status >/dev/null 2>&1; then ENGINE_WAS_THERE=yes; fi
    if [ "$ENGINE_WAS_THERE" = no ] && ! as_root true 2>/dev/null; then
        leave_out "no Docker engine answers, and only root may start one" e2e::hosts:: docker
        return
    fi
    trap stop_what_we_started EXIT INT TERM
    if [ "$ENGINE_WAS_THERE" = yes ]; then
        STATE_FILE=none
    elif ! STATE_FILE=$(as_root tests/support/docker.sh start); then
        leave_out "the Docker engine could not be started (see above)" e2e::hosts:: docker
        STATE_FILE=
        return
    fi
    if ! docker version >/dev/null 2>&1; then
        leave_out "the Docker engine does not let $(id -un) in" e2e::hosts:: docker
        return
    fi
    if [ -z "${RAPTOR_TEST_IMAGE:-}" ]; then
        if ! image=$(as_root env ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} tests/support/base-image.sh); then
            leave_out "the image of the tests' hosts could not be built (see above)" e2e::hosts:: docker
            return
        fi
        RAPTOR_TEST_IMAGE=$image
        export RAPTOR_TEST_IMAGE
    fi
    say "Docker engine answers; hosts boot from $RAPTOR_TEST_IMAGE"
}

# A computer with libvirt and LXC, as a container. Without Docker its tests are left out with all hosts.
prepare_hypervisors() {
    local image
    [ -n "${RAPTOR_TEST_IMAGE:-}" ] && [ -z "${RAPTOR_TEST_HYPERVISORS:-}" ] || return 0
    if ! need mmdebstrap mmdebstrap || ! need strip binutils; then
        leave_out "no mmdebstrap or strip, and no right to install mmdebstrap and binutils" \
            e2e::hosts::hypervisors::
    elif ! image=$(as_root env ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} tests/support/hypervisors-image.sh); then
        leave_out "the image with libvirt and LXC could not be built (see above)" e2e::hosts::hypervisors::
    else
        RAPTOR_TEST_HYPERVISORS=$image
        export RAPTOR_TEST_HYPERVISORS
        say "libvirt and LXC come from $image"
    fi
}

# Known vulnerabilities need cargo-deny and its database; the tests ask it only offline.
prepare_advisories() {
    if ! cargo deny --version >/dev/null 2>&1; then
        leave_out "cargo-deny is not installed: advisories are not checked (licences and duplicates are)"
    elif ! timeout 120 cargo deny fetch db >/dev/null 2>&1 && [ ! -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ]; then
        leave_out "the advisory database cannot be reached: advisories are not checked"
    fi
}

# Format and lints. Faults do not keep the tests from running; they are told and count at the end.
# Other releases of Rust format and lint otherwise: there faults are told and do not count.
check_sources() {
    local counts=no
    case $(rustc --version) in "rustc $LINT_RUST."*) counts=yes ;; esac
    if ! cargo fmt --version >/dev/null 2>&1; then
        leave_out "rustfmt is not installed: rustup component add rustfmt"
    elif say "cargo fmt --check" && ! cargo fmt --check >&2; then
        found_fault "$counts" "the sources are not formatted: cargo fmt"
    fi
    if ! cargo clippy --version >/dev/null 2>&1; then
        leave_out "clippy is not installed: rustup component add clippy"
    elif say "cargo clippy" && ! cargo clippy --locked --all-targets --quiet -- -D warnings >&2; then
        found_fault "$counts" "clippy found faults (see above)"
    fi
}

# found_fault COUNTS WHAT
found_fault() {
    if [ "$1" = yes ]; then
        FAULTS+=("$2")
        say "$2"
    else
        leave_out "$2; not counted: lints are kept under Rust $LINT_RUST"
    fi
}

# Puts a list before the runner's closing lines, which end the output.
insert_list() {
    awk -v list="$1" '
        /^ *Summary \[/ || /^test result:/ { printf "%s", held; held = ""; holding = 1 }
        holding { held = held $0 "\n"; next }
        { print; fflush() }
        END { if (list != "") print list; printf "%s", held }'
}

run_tests() {
    local runner=(cargo test --locked --no-fail-fast)
    if cargo nextest --version >/dev/null 2>&1; then
        runner=(cargo nextest run --locked --no-fail-fast)
    fi
    local filter=("${SKIPPED[@]}" "$@")
    [ "$END_TO_END" = no ] || filter=(--include-ignored "${filter[@]}")
    local list='' status=0
    [ ${#FAULTS[@]} = 0 ] || list+=$(printf 'fault: %s\n' "${FAULTS[@]}")
    [ -z "$list" ] || [ ${#LEFT_OUT[@]} = 0 ] || list+=$'\n'
    [ ${#LEFT_OUT[@]} = 0 ] || list+=$(printf 'left out: %s\n' "${LEFT_OUT[@]}")
    say "${runner[*]} --lib --bins --tests -- ${filter[*]}"
    [ -z "$list" ] || printf '%s\n' "$list" >&2
    "${runner[@]}" --lib --bins --tests -- "${filter[@]}" 2>&1 | insert_list "$list" || status=$?
    [ ${#FAULTS[@]} = 0 ] || [ "$status" != 0 ] || status=1
    return "$status"
}

ENGINE_WAS_THERE=yes
check_toolchain
[ "$END_TO_END" = no ] || prepare_end_to_end
prepare_advisories
check_sources
run_tests "$@"
