set -eu
case $(init_system) in
    systemd)
        systemctl disable -q raptor-firewall.service || true
        rm -f /etc/systemd/system/raptor-firewall.service
        ;;
    openrc)
        rc-update -q del raptor-firewall boot || true
        rm -f /etc/init.d/raptor-firewall
        ;;
    *) rm -f "$RAPTOR_ROOT/usr/local/lib/raptor/boot.d/firewall" ;;
esac
