set -eu
case $datacenter in
    '' | *[!a-zA-Z0-9_-]*)
        echo "the variable datacenter is no plain word: $datacenter" >&2
        exit 1
        ;;
esac
# The package's own service knows nothing of the mesh.
if [ -d /run/systemd/system ]; then
    systemctl -q disable --now consul.service 2>/dev/null || true
elif [ -d /run/openrc ] && has rc-service; then
    rc-service -q consul stop 2>/dev/null || true
fi
keep_running raptor-consul /usr/local/lib/raptor-consul/keeper
