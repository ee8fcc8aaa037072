set -eu
# Writes the rules. Where sshd listens and by which port we came in stay open.
PATH=$PATH:/usr/sbin:/sbin
if [ -z "$ssh_ports" ]; then
    ssh_ports=$({
        sshd -T 2>/dev/null | sed -n 's/^port //p'
        printf '%s\n' "${SSH_CONNECTION:-}" | cut -d ' ' -s -f 4
    } | grep -E '^[0-9]+$' | sort -nu | tr '\n' ',' | sed 's/,$//;s/,/, /g') || true
fi
more() { [ -z "$2" ] || printf '        %s dport { %s } accept\n' "$1" "$2"; }
cat <<RULES
# Written by raptor's module firewall: what may come into this machine.
table inet raptor
delete table inet raptor
table inet raptor {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iif lo accept
        iifname "$RAPTOR_INTERFACE" accept
        icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept
        icmpv6 type { echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept
        ip6 saddr fe80::/10 udp dport 546 accept
        tcp dport { ${ssh_ports:-22} } accept
        udp dport $RAPTOR_MESH_PORT accept
$(more tcp "$tcp_ports")
$(more udp "$udp_ports")
    }
}
RULES
