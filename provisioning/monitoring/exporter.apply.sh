set -eu
case $listen in
    *[!a-zA-Z0-9.:%_\[\]-]*)
        echo "the variable listen is no address: $listen" >&2
        exit 1
        ;;
esac
# The package's own service listens on every address.
if [ -d /run/systemd/system ]; then
    for unit in prometheus-node-exporter.service node_exporter.service; do
        systemctl disable -q --now "$unit" 2>/dev/null || true
    done
elif [ -d /run/openrc ] && has rc-service; then
    rc-service -q node-exporter stop 2>/dev/null || true
fi
keep_running raptor-node-exporter /usr/local/lib/raptor-monitoring/run
