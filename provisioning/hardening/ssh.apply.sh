set -eu
main=$RAPTOR_ROOT/etc/ssh/sshd_config
# The first value that sshd reads counts, so the line goes first.
if ! grep -Eqi '^[[:space:]]*Include[[:space:]]+/etc/ssh/sshd_config\.d/' "$main"; then
    { echo 'Include /etc/ssh/sshd_config.d/*.conf'; cat "$main"; } >"$main.new"
    mv -f "$main.new" "$main"
fi
mkdir -p /run/sshd
sshd -t
if [ -d /run/systemd/system ]; then
    systemctl try-reload-or-restart ssh.service sshd.service 2>/dev/null || true
elif command -v rc-service >/dev/null 2>&1 && [ -d /run/openrc ]; then
    rc-service -q sshd reload
else
    # Connections that stand go on.
    pkill -HUP -o -x sshd || true
fi
