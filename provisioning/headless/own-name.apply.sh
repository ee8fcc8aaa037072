set -eu
# Appended, not replaced: in a container /etc/hosts is a mount that cannot be moved over.
mkdir -p "$RAPTOR_ROOT/etc"
printf '127.0.1.1\t%s\n' "$(uname -n)" >>"$RAPTOR_ROOT/etc/hosts"
