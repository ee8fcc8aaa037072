set -eu
# sudo, mail and much else stall for seconds where a machine cannot resolve its own name.
grep -Eq "^[^#]*[[:space:]]$(uname -n)([[:space:]]|\$)" "$RAPTOR_ROOT/etc/hosts"
