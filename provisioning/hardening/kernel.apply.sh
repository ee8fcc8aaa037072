set -eu
# A container shares its host's kernel and may not set it; what a kernel lacks is passed over. Both
# hold at the next boot of a machine of its own.
grep -v '^#' "$RAPTOR_ROOT/etc/sysctl.d/60-raptor-hardening.conf" | while IFS=' =' read -r key value; do
    file=/proc/sys/$(printf %s "$key" | tr . /)
    if [ -z "$RAPTOR_ROOT" ] && [ -w "$file" ]; then
        printf '%s\n' "$value" >"$file" 2>/dev/null || echo "not set: $key"
    fi
done
