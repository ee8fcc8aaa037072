set -eu
file=$RAPTOR_ROOT/etc/nftables.d/raptor.nft
old=$RAPTOR_STATE/firewall.old
rm -f "$RAPTOR_STATE/unconfirmed.firewall" "$file"
nft delete table inet raptor 2>/dev/null || true
if [ -e "$old" ]; then cp -p "$old" "$file"; nft -f "$file"; fi
