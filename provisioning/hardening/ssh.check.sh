set -eu
# What sshd makes of all its files is what counts.
sshd -T 2>/dev/null | grep -qx 'passwordauthentication no'
sshd -T 2>/dev/null | grep -qx "maxauthtries $max_auth_tries"
