# Boots a docker machine: what its first process runs, at the first start and at every later one.
# The back-end hands this text to `/bin/sh -c`, so any image with an sshd will do.
set -eu

# Whoever runs `docker exec` or reads the environment of a process sees no keys lying about.
authorized_keys=${RAPTOR_AUTHORIZED_KEYS:-}
unset RAPTOR_AUTHORIZED_KEYS

# sshd wants to be named by its whole path.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
sshd=$(command -v sshd) || { echo 'this image has no sshd' >&2; exit 78; }

first_boot_done=/var/lib/raptor-machine/booted
if [ ! -e "$first_boot_done" ]; then
    # Keys that came with the image are everybody's: this machine makes its own.
    rm -f /etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/ssh_host_ed25519_key
    umask 077
    mkdir -p /root/.ssh "${first_boot_done%/*}"
    printf '%s\n' "$authorized_keys" >>/root/.ssh/authorized_keys
    : >"$first_boot_done"
    umask 022
fi

# The agent, on a machine that has one: `raptor slave` leaves this file behind.
if [ -x /usr/local/lib/raptor/boot ]; then
    /usr/local/lib/raptor/boot </dev/null &
fi

mkdir -p /run/sshd
rm -f /run/sshd.pid

# Whoever reads the container's log learns when sshd answers, and by which keys it is known.
(
    tries=0
    until [ -s /run/sshd.pid ]; do
        tries=$((tries + 1))
        [ $tries -lt 1500 ] || exit 1
        sleep 0.02
    done
    cat /etc/ssh/ssh_host_*_key.pub
    echo 'raptor: sshd answers'
) </dev/null &

exec "$sshd" -D -e -o PidFile=/run/sshd.pid -o HostKey=/etc/ssh/ssh_host_ed25519_key \
    -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no
