#!/bin/sh
# Runs a Consul server at this machine's mesh address and keeps its cluster together: new servers are
# led to it, lost ones are taken out of it, when most are lost those left go on, and when all are lost
# new ones get what they held from a snapshot that raptor's members keep. Who is there, they say.
set -eu
# Whatever fails, the next look mends.
set +e
. /usr/local/lib/raptor-consul/settings
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
data=/var/lib/raptor-consul
members=$data/members
child=
leaderless=0
registered=0
kept=0
kept_index=
umask 022
mkdir -p "$data/state"
chown consul "$data/state"

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }
end() {
    [ -z "$child" ] || { kill "$child"; wait "$child"; }
    exit 0
}
trap end INT TERM HUP
rest() { sleep "$1" & wait $!; }

# A line a device's address: 32 hexadecimal digits, index, length, scope, flags, name. As Consul
# and raptor write it: zeros left out.
own_address() {
    awk -v name="$interface" '$6 == name && $4 == "00" { print $1; exit }' /proc/net/if_inet6 |
        sed 's/..../&:/g; s/:$//'
}

# Node, address, status and type of every member, a line each; fails where no agent answers.
look() {
    /usr/local/lib/raptor/current/raptor --home /var/lib/raptor members 2>/dev/null |
        awk 'NR > 1 && NF > 3 { print $1, $2, $3, $4 }' >"$members.new"
    [ -s "$members.new" ] && mv -f "$members.new" "$members"
}
is_alive() { awk -v it="$1" '$2 == it && $3 == "alive" { found = 1 } END { exit !found }' "$members"; }
# `[ADDRESS]:PORT` without the brackets and the port.
bare() { printf %s "$1" | sed 's/^\[//; s/\]:[0-9]*$//'; }

start() {
    cat >"$data/config.json" <<CONFIG
{
  "server": true,
  "bootstrap_expect": $bootstrap_expect,
  "datacenter": "$datacenter",
  "data_dir": "$data/state",
  "node_name": "$name",
  "node_meta": { "raptor": "server", "raptor_type": "$server_type" },
  "bind_addr": "$address",
  "advertise_addr": "$address",
  "client_addr": "127.0.0.1",
  "ports": { "grpc": -1 },
  "performance": { "raft_multiplier": $raft_multiplier },
  "disable_remote_exec": $([ "$remote_exec" = true ] && echo false || echo true),
  "disable_update_check": true,
  "leave_on_terminate": false,
  "skip_leave_on_interrupt": true,
  "rejoin_after_leave": true,
  "log_file": "$data/state/consul.log",
  "log_rotate_bytes": 10000000,
  "log_rotate_max_files": 2,
  "services": [{ "name": "raptor", "port": $mesh_port, "meta": { "type": "$server_type" } }]
}
CONFIG
    chown consul "$data/config.json"
    if setpriv --reuid consul --clear-groups true 2>/dev/null; then
        setpriv --reuid consul --clear-groups consul agent -config-file "$data/config.json" >/dev/null 2>&1 &
    else
        su -s /bin/sh consul -c "exec consul agent -config-file $data/config.json" >/dev/null 2>&1 &
    fi
    child=$!
    say "consul runs as process $child"
}

# Leads servers that Consul does not know to each other.
join() {
    while read -r _ other status type; do
        if [ "$status" = alive ] && [ "$type" = "$server_type" ] && [ "$other" != "$address" ] &&
            ! printf '%s\n' "$servers" | grep -qF "[$other]:8301 alive"; then
            consul join "[$other]" >/dev/null 2>&1 && say "joined $other"
        fi
    done <"$members"
}

# Takes servers out that neither Consul nor raptor sees.
tidy() {
    printf '%s\n' "$servers" | while read -r server place status; do
        if [ "$status" = failed ] && ! is_alive "$(bare "$place")"; then
            say "$server is gone"
            consul force-leave -prune "$server" >/dev/null 2>&1
        fi
    done
}

put() { curl --silent --show-error --fail --max-time 5 --request PUT --data "$2" "http://127.0.0.1:8500/v1/catalog/$1" >/dev/null; }

# Tells the catalog of members that run no Consul, and takes out those that left.
register() {
    while read -r node place status type; do
        [ "$type" != "$server_type" ] || continue
        health=$([ "$status" = alive ] && echo passing || echo critical)
        put register "{\"Node\":\"$node\",\"Address\":\"$place\",\"NodeMeta\":{\"raptor\":\"member\",\"external-node\":\"true\"},\"Service\":{\"Service\":\"raptor\",\"Port\":$mesh_port,\"Meta\":{\"type\":\"$type\"}},\"Check\":{\"Name\":\"raptor member\",\"CheckID\":\"raptor\",\"Status\":\"$health\"}}"
    done <"$members"
    consul catalog nodes -node-meta raptor=member 2>/dev/null | awk 'NR > 1 { print $1 }' |
        while read -r node; do
            grep -q "^$node " "$members" || put deregister "{\"Node\":\"$node\"}"
        done
    registered=$now
    cp "$members" "$data/registered"
}

raptor() { /usr/local/lib/raptor/current/raptor --home /var/lib/raptor "$@"; }

# In the name of a secret and of an artefact there are small letters, digits and -.
snapshot=consul-$(printf %s "$datacenter" | tr 'A-Z_' 'a-z-' | sed 's/-*$//')
# A cluster that holds this key has its past, or never had one.
mark=raptor/consul/begun

# The leader of a cluster without a past looks for one: what an earlier cluster held.
begin() {
    [ "$(consul kv get "$mark" 2>/dev/null)" = yes ] && return
    # Whether there is one must be known before anything is kept in its place.
    list=$(raptor artefact ls -o json 2>/dev/null) || return 1
    case $list in
        *"\"name\": \"$snapshot\""* | *"\"name\":\"$snapshot\""*)
            raptor artefact get "$snapshot" "$data/snapshot" >/dev/null 2>&1 || return 1
            consul snapshot restore "$data/snapshot" >/dev/null 2>&1
            restored=$?
            rm -f "$data/snapshot"
            [ "$restored" = 0 ] || { say "the snapshot cannot be restored"; return 1; }
            say "restored what an earlier cluster held"
            ;;
    esac
    consul kv put "$mark" yes >/dev/null 2>&1
}

# Gives all members what the servers hold, sealed, when a value has changed.
keep() {
    [ "$snapshot_s" != 0 ] && [ $((now - kept)) -ge "$snapshot_s" ] || return
    kept=$now
    begin || return
    index=$(curl --silent --max-time 5 --output /dev/null --dump-header - \
        "http://127.0.0.1:8500/v1/kv/?keys&separator=/" | tr -d '\r' |
        awk 'tolower($1) == "x-consul-index:" { print $2 }')
    [ -n "$index" ] && [ "$index" != "$kept_index" ] || return
    (umask 077 && consul snapshot save "$data/snapshot" >/dev/null 2>&1) &&
        raptor artefact add --name "$snapshot" --seal "$snapshot" "$data/snapshot" >/dev/null 2>&1 &&
        kept_index=$index && say "all members keep what index $index held"
    rm -f "$data/snapshot"
}

# No leader, and most of the servers that choose one are lost: those left go on by themselves. Each
# of them comes to the same list, since all know the same members.
recover() {
    list= total=0 left=0 own=no
    while read -r id place _; do
        total=$((total + 1))
        if is_alive "$(bare "$place")"; then
            left=$((left + 1))
            list="$list${list:+,}{\"id\":\"$id\",\"address\":\"$place\",\"non_voter\":false}"
            [ "$(bare "$place")" != "$address" ] || own=yes
        fi
    done <<PEERS
$peers
PEERS
    [ "$own" = yes ] && [ $((left * 2)) -le "$total" ] || return
    say "$left of $total servers are left and there is no leader: going on without the others"
    kill "$child"
    wait "$child"
    printf '[%s]\n' "$list" >"$data/state/raft/peers.json"
    chown consul "$data/state/raft/peers.json"
    start
    leaderless=0
}

tend() {
    servers=$(consul members 2>/dev/null | awk 'NR > 1 { print $1, $2, $3 }')
    [ -n "$servers" ] || return
    join
    peers=$(consul operator raft list-peers -stale=true 2>/dev/null | awk 'NR > 1 { print $2, $3, $4 }')
    now=$(date +%s)
    case $peers in
        *leader*)
            leaderless=0
            if printf '%s\n' "$peers" | grep -qF "[$address]:8300 leader"; then
                tidy
                keep
                if [ $((now - registered)) -ge 60 ] || ! cmp -s "$members" "$data/registered"; then register; fi
            fi
            ;;
        *)
            [ "$leaderless" != 0 ] || leaderless=$now
            if [ -n "$peers" ] && [ $((now - leaderless)) -ge "$recover_after_s" ]; then recover; fi
            ;;
    esac
}

until address=$(own_address) && [ -n "$address" ] && look &&
    address=$(awk -v own="$address" '
        # Both as 32 digits: raptor leaves zeros out.
        function whole(text, parts, count, i, left, out) {
            count = split(text, parts, ":"); left = 8 - count; out = ""
            for (i = 1; i <= count; i++) {
                if (parts[i] == "" && i > 1 && i < count || parts[i] == "" && count > 8) {
                    while (left-- >= 0) out = out "0000:"
                } else out = out substr("0000" parts[i], length(parts[i]) + 1) ":"
            }
            return out
        }
        whole($2) == own ":" { print $2 }' "$members") && [ -n "$address" ] &&
    name=$(awk -v own="$address" '$2 == own { print $1 }' "$members") && [ -n "$name" ]; do
    rest 1
done
say "this is $name at $address"
while :; do
    if [ -z "$child" ] || ! kill -0 "$child" 2>/dev/null; then start; fi
    rest 2
    if look; then tend; fi
done
