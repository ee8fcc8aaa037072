set -eu
file=$RAPTOR_ROOT/etc/nftables.d/raptor.nft
new=$RAPTOR_STATE/firewall.new
old=$RAPTOR_STATE/firewall.old
mark=$RAPTOR_STATE/unconfirmed.firewall
sh "$RAPTOR_MODULE/rules.sh" >"$new"
nft -c -f "$new"
rm -f "$old"
[ ! -e "$file" ] || cp -p "$file" "$old"
# Rules that lock everybody out do not last: unless a new connection takes the mark away, those
# before come back.
: >"$mark"
cat >"$RAPTOR_STATE/firewall.guard" <<GUARD
sleep $rollback_s
[ -e '$mark' ] || exit 0
nft delete table inet raptor
rm -f '$file' '$mark'
if [ -e '$old' ]; then cp -p '$old' '$file'; nft -f '$file'; fi
GUARD
detach=
if command -v setsid >/dev/null 2>&1; then detach=setsid; fi
$detach sh "$RAPTOR_STATE/firewall.guard" </dev/null >/dev/null 2>&1 &
nft -f "$new"
mkdir -p "${file%/*}"
chmod 600 "$new"
mv -f "$new" "$file"
