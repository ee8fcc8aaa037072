#!/bin/sh
# What Vagrant runs on a machine that it has booted, as the user whom it logs in as: the keys that may
# log in, in base64, and a host key of its own, which a box gives to all alike.
set -eu

umask 077
mkdir -p "$HOME/.ssh"
file=$HOME/.ssh/authorized_keys
touch "$file"
printf '%s' "$RAPTOR_AUTHORIZED_KEYS" | base64 -d | while IFS= read -r key || [ -n "$key" ]; do
    grep -qxF -- "$key" "$file" || printf '%s\n' "$key" >>"$file"
done

own_host_key='
set -eu
if [ ! -e /etc/raptor-machine ]; then
    rm -f /etc/ssh/ssh_host_*
    ssh-keygen -q -A
    : >/etc/raptor-machine
    if [ -d /run/systemd/system ]; then
        systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || true
    elif [ -s /run/sshd.pid ]; then
        kill -HUP "$(cat /run/sshd.pid)"
    else
        pkill -HUP -o -x sshd
    fi
fi
sed -n "s/^\(ssh-ed25519 [^ ]*\).*/raptor-host-key \1/p" /etc/ssh/ssh_host_*_key.pub'
if [ "$(id -u)" = 0 ]; then sh -c "$own_host_key"; else sudo -n sh -c "$own_host_key"; fi
