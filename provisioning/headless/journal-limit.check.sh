set -eu
test -s "$RAPTOR_ROOT/etc/systemd/journald.conf.d/raptor.conf"
