set -eu
rm -f "$RAPTOR_ROOT/etc/systemd/journald.conf.d/raptor.conf"
