set -eu
nft=$(command -v nft)
file=/etc/nftables.d/raptor.nft
case $(init_system) in
    systemd)
        cat >/etc/systemd/system/raptor-firewall.service <<UNIT
[Unit]
Description=Firewall of raptor
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target
Wants=network-pre.target
ConditionPathExists=$file

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$nft -f $file

[Install]
WantedBy=sysinit.target
UNIT
        systemctl daemon-reload
        systemctl enable -q raptor-firewall.service
        ;;
    openrc)
        printf '#!/sbin/openrc-run\ndepend() { before net; }\nstart() { %s -f %s; }\n' \
            "$nft" "$file" >/etc/init.d/raptor-firewall
        chmod 755 /etc/init.d/raptor-firewall
        rc-update -q add raptor-firewall boot
        ;;
    *)
        mkdir -p "$RAPTOR_ROOT/usr/local/lib/raptor/boot.d"
        printf '#!/bin/sh\n%s list table inet raptor >/dev/null 2>&1 || %s -f %s\n' \
            "$nft" "$nft" "$file" >"$RAPTOR_ROOT/usr/local/lib/raptor/boot.d/firewall"
        chmod 755 "$RAPTOR_ROOT/usr/local/lib/raptor/boot.d/firewall"
        ;;
esac
