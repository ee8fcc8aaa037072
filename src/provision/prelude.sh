set -u
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C DEBIAN_FRONTEND=noninteractive RAPTOR_ROOT="$root"
umask 022
say() { printf '@raptor %s\n' "$*"; }
work=$(mktemp -d) || exit 73
export RAPTOR_TOOLS="$work/tools.sh" RAPTOR_STATE="$home/steps"
trap 'rm -rf "$work"' EXIT
# `timeout` gives its command a process group of its own: it must be told of our end.
child=
trap '[ -z "$child" ] || kill "$child"; exit 143' HUP INT TERM
has() { command -v "$1" >/dev/null 2>&1; }
mkdir -p "$home" "$home/steps" "$(dirname "$log")" && : >>"$log" || { say fail 73; exit 1; }
chmod 700 "$home" "$(dirname "$log")"
exec 8>>"$home/provision.lock"
if has flock && ! flock -n 8; then say busy; exit 1; fi
# Ends the run: the status and the last lines of what was being done.
fail() { say fail "$1"; tail -n 20 "$work/out" | while IFS= read -r line; do say "| $line"; done; exit 1; }
# Runs a command, its output into the log.
run() {
  "$@" >"$work/out" 2>&1 8>&- </dev/null & child=$!
  wait "$child"; code=$?; child=
  cat "$work/out" >>"$log"; return "$code"
}
must() { run "$@" || fail "$?"; }
limited() { if has timeout; then run timeout -k 5 "$@"; else shift; run "$@"; fi; }
title() { say begin "$1"; printf '== %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >>"$log"; }
# module NAME STAMP: where nothing changed and $work/module holds, its steps are passed over.
module() {
  mark=$home/steps/module.$1
  [ "$(cat "$mark" 2>/dev/null)" = "$2" ] || return 0
  title "$1"
  ! limited 60 sh -eu "$work/module" || passed=yes
}
module_done() { passed=; printf %s "$2" >"$home/steps/module.$1" || fail 73; }
# step INDEX TITLE STAMP SECONDS: $work/INDEX.check (may be absent) and $work/INDEX.apply.
step() {
  if [ -n "$passed" ]; then say skip "$1"; return; fi
  title "$2"; mark=$home/steps/$(printf %s "$2" | tr / .); old=$(cat "$mark" 2>/dev/null); good=
  if [ -f "$work/$1.check" ]; then
    if limited "$4" sh -eu "$work/$1.check"; then good=yes; else good=no; fi
  fi
  if [ "$good" != no ] && [ "$old" = "$3" ]; then say skip "$1"; return; fi
  # A step never seen here whose check holds has nothing to do; a changed one is done again.
  if [ "$good" = yes ] && [ -z "$old" ]; then printf %s "$3" >"$mark"; say skip "$1"; return; fi
  say applying "$1"
  # Whoever is cut short here is no machine on which the check alone tells that all was done.
  printf begun >"$mark" || fail 73
  limited "$4" sh -eu "$work/$1.apply" || fail "$?"
  if [ -f "$work/$1.check" ]; then limited "$4" sh -eu "$work/$1.check" || fail "$?"; fi
  printf %s "$3" >"$mark" || fail 73
  say done "$1"
}
# write PATH MODE: standard input becomes the file, whole or not at all; sets changed when it differs.
write() {
  mkdir -p "$(dirname "$1")" && cat >"$work/file" || fail 73
  cmp -s "$work/file" "$1" && return
  changed=yes
  cp "$work/file" "$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1" || fail 73
}
link() { mkdir -p "$(dirname "$2")" && ln -sfn "$1" "$2.new" && mv -fT "$2.new" "$2"; }
changed= passed=
