#!/bin/sh
# The Docker engine that the tests need.
#
#   docker.sh start    uses the engine that answers; else, as root, installs what is missing and
#                      starts one. Prints the state file: `started=yes|no`, `pid=`, `start_ticks=`.
#   docker.sh stop     stops the engine that `start` started, and no other. Its images stay.
#   docker.sh status   exit status 0 when an engine answers.
#
# An engine of ours keeps its images in a folder of its own, so that a user's containers are never
# woken, and answers at the default socket, so that a plain `docker` finds it.
set -eu
PATH=$PATH:/usr/sbin:/sbin
umask 022

STATE_FOLDER=${RAPTOR_TEST_RUN_FOLDER:-/run/raptor-tests}
DATA_FOLDER=${RAPTOR_TEST_DATA_FOLDER:-/var/lib/raptor-tests}
STATE_FILE=$STATE_FOLDER/docker.state
LOG_FILE=$STATE_FOLDER/docker.log
READY_TRIES=300 # of 0.1 s each

say() { echo "docker.sh: $*" >&2; }
fail() { say "$@"; exit 1; }

answers() { timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Field 22 of /proc/PID/stat: with it a pid that was given to another process is told apart. The
# second field may hold blanks, so everything up to its closing bracket is cut off first.
start_ticks() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

write_state() {
    mkdir -p "$STATE_FOLDER"
    chmod 0700 "$STATE_FOLDER"
    printf '%s\n' "$@" >"$STATE_FILE.new"
    mv "$STATE_FILE.new" "$STATE_FILE"
}

state() { sed -n "s/^$1=//p" "$STATE_FILE" 2>/dev/null || true; }

# Whether the engine named in the state file is ours and lives.
ours_lives() {
    pid=$(state pid)
    [ "$(state started)" = yes ] && [ -n "$pid" ] &&
        [ -n "$(start_ticks "$pid")" ] && [ "$(start_ticks "$pid")" = "$(state start_ticks)" ]
}

install_engine() {
    command -v dockerd >/dev/null && command -v docker >/dev/null && return
    command -v apt-get >/dev/null || fail "no dockerd here and no apt-get to install it: install Docker"
    say "installing docker.io"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2 && apt-get -qq install -y --no-install-recommends docker.io iptables >&2 ||
        fail "apt-get could not install docker.io: install Docker by hand"
    # Newer suites carry the client in a package of its own.
    command -v docker >/dev/null || apt-get -qq install -y --no-install-recommends docker-cli >&2 ||
        fail "apt-get could not install docker-cli: install the docker client by hand"
}

start_by_hand() {
    mkdir -p "$STATE_FOLDER" "$DATA_FOLDER/docker"
    chmod 0700 "$STATE_FOLDER"
    # No engine of ours lives, so what lies here is a killed one's: its process ids may have been
    # given to others by now, and a new engine would take those for the old one.
    rm -rf "$STATE_FOLDER/docker.pid" "$STATE_FOLDER/docker"
    # Its own session, no descriptor of ours: it outlives this shell and holds no lock of it.
    # `--oom-score-adjust 0`: a machine that is itself a container may not lower its score.
    setsid dockerd --host unix:///var/run/docker.sock --data-root "$DATA_FOLDER/docker" \
        --exec-root "$STATE_FOLDER/docker" --pidfile "$STATE_FOLDER/docker.pid" \
        --oom-score-adjust 0 </dev/null >"$LOG_FILE" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    pid=$!
    tries=0
    until answers; do
        tries=$((tries + 1))
        [ -d "/proc/$pid" ] || fail "dockerd ended at once; the last lines of $LOG_FILE:
$(tail -n 15 "$LOG_FILE")"
        if [ $tries -ge $READY_TRIES ]; then
            kill "$pid" 2>/dev/null || true
            fail "dockerd did not answer in time; the last lines of $LOG_FILE:
$(tail -n 15 "$LOG_FILE")"
        fi
        sleep 0.1
    done
    # `setsid` forks when it leads a group, so the engine's own word for its pid is the one to keep.
    pid=$(cat "$STATE_FOLDER/docker.pid")
    write_state started=yes "pid=$pid" "start_ticks=$(start_ticks "$pid")" "log=$LOG_FILE"
}

start() {
    if answers; then
        ours_lives || { [ "$(id -u)" != 0 ] || write_state started=no; }
    elif [ "$(id -u)" != 0 ]; then
        fail "no Docker engine answers here, and only root may start one: start it, or join its group"
    elif [ -n "${DOCKER_HOST:-}" ]; then
        fail "DOCKER_HOST is $DOCKER_HOST and no engine answers there: unset it, or start that engine"
    else
        install_engine
        if answers; then
            write_state started=no # the package started it
        elif [ -d /run/systemd/system ]; then
            systemctl start docker >&2 || fail "systemctl could not start docker: see journalctl -u docker"
            write_state started=systemd
        else
            start_by_hand
        fi
        answers || fail "the Docker engine was started and does not answer"
    fi
    echo "$STATE_FILE"
}

stop() {
    case $(state started) in
    yes)
        if ours_lives; then
            pid=$(state pid)
            kill "$pid"
            tries=0
            while ours_lives; do
                tries=$((tries + 1))
                [ $tries -lt $READY_TRIES ] || { kill -9 "$pid" || true; break; }
                sleep 0.1
            done
        fi
        ;;
    systemd) systemctl stop docker.socket docker.service >&2 || true ;;
    esac
    rm -f "$STATE_FILE"
}

case ${1:-} in
start) start ;;
stop) stop ;;
status) answers ;;
*) fail "usage: docker.sh start|stop|status" ;;
esac
