set -eu
# Without a limit the journal takes a tenth of the disk.
mkdir -p "$RAPTOR_ROOT/etc/systemd/journald.conf.d"
printf '[Journal]\nSystemMaxUse=500M\n' >"$RAPTOR_ROOT/etc/systemd/journald.conf.d/raptor.conf"
if [ -z "$RAPTOR_ROOT" ]; then systemctl try-restart systemd-journald.service; fi
