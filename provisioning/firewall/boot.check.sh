set -eu
case $(init_system) in
    systemd) test -e /etc/systemd/system/raptor-firewall.service ;;
    openrc) test -e /etc/init.d/raptor-firewall ;;
    *) test -x "$RAPTOR_ROOT/usr/local/lib/raptor/boot.d/firewall" ;;
esac
