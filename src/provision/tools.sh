# What scripts of modules may call: . "$RAPTOR_TOOLS"
has() { command -v "$1" >/dev/null 2>&1; }
# packages_there MANAGER PACKAGE...: whether all are installed.
packages_there() {
  manager=$1; shift
  for package in "$@"; do
    case $manager in
      apt-get) [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ;;
      apk) apk info -e "$package" >/dev/null 2>&1 ;;
      pacman) pacman -Q "$package" >/dev/null 2>&1 ;;
      *) rpm -q "$package" >/dev/null 2>&1 ;;
    esac || return 1
  done
}
# packages_add MANAGER PACKAGE...: installs them.
packages_add() {
  manager=$1; shift
  case $manager in
    apt-get)
      # The list of packages may be older than the mirror's: then it is fetched anew.
      apt-get -qq install -y --no-install-recommends "$@" 2>/dev/null ||
        { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"; } ;;
    apk) apk add --quiet "$@" || { apk update --quiet && apk add --quiet "$@"; } ;;
    pacman) pacman -S --noconfirm --needed "$@" || pacman -Syu --noconfirm --needed "$@" ;;
    zypper) zypper --non-interactive --quiet install --no-recommends "$@" ;;
    *) "$manager" -y -q install "$@" ;;
  esac
}
# The first package manager that is there.
package_manager() {
  for manager in apt-get dnf yum zypper apk pacman; do
    if has "$manager"; then echo "$manager"; return; fi
  done
  return 1
}
# file_there SOURCE PATH MODE OWNER: whether PATH is as the module's SOURCE; OWNER may be empty.
file_there() {
  cmp -s "$RAPTOR_MODULE/$1" "$RAPTOR_ROOT$2" || return 1
  [ "$(stat -c %a "$RAPTOR_ROOT$2")" = "$3" ] || return 1
  [ -z "$4" ] || case $(stat -c %U:%G "$RAPTOR_ROOT$2") in "$4" | "$4":*) ;; *) return 1 ;; esac
}
before() { printf '%s/before%s' "$RAPTOR_STATE" "$(printf %s "$1" | tr / .)"; }
# file_put SOURCE PATH MODE OWNER: whole or not at all; what was there is kept for file_back.
file_put() {
  place=$RAPTOR_ROOT$2
  kept=$(before "$2")
  mkdir -p "${place%/*}" "$RAPTOR_STATE"
  rm -f "$kept"
  [ ! -e "$place" ] || cp -p "$place" "$kept"
  cp "$RAPTOR_MODULE/$1" "$place.new"
  chmod "$3" "$place.new"
  [ -z "$4" ] || chown "$4" "$place.new"
  mv -f "$place.new" "$place"
}
# file_back PATH: as it was before file_put.
file_back() {
  kept=$(before "$1")
  if [ -e "$kept" ]; then mv -f "$kept" "$RAPTOR_ROOT$1"; else rm -f "$RAPTOR_ROOT$1"; fi
}
# What starts services: systemd, openrc, runit or none.
init_system() {
  if [ -n "$RAPTOR_ROOT" ]; then echo none
  elif [ -d /run/systemd/system ]; then echo systemd
  elif [ -d /run/openrc ] && has rc-service; then echo openrc
  elif [ -d /run/runit ] && has sv; then echo runit
  else echo none; fi
}
runit_services() {
  for folder in /var/service /etc/service /etc/runit/runsvdir/default; do
    if [ -d "$folder" ]; then echo "$folder"; return; fi
  done
  echo /etc/service
}
# keep_running NAME PROGRAM: runs PROGRAM, without arguments, from now on, at every boot, and again
# whenever it ends. What runs under that name is started anew.
keep_running() {
  case $(init_system) in
    systemd)
      cat >"/etc/systemd/system/$1.service" <<UNIT
[Unit]
Description=$1, kept by raptor
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=$2
Restart=always
RestartSec=1
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
UNIT
      systemctl daemon-reload
      systemctl -q enable "$1.service"
      systemctl restart "$1.service" ;;
    openrc)
      cat >"/etc/init.d/$1" <<UNIT
#!/sbin/openrc-run
supervisor=supervise-daemon
command=$2
respawn_delay=1
respawn_max=0
depend() { after net localmount; }
UNIT
      chmod 755 "/etc/init.d/$1"
      rc-update -q add "$1" default
      rc-service -q "$1" restart ;;
    runit)
      mkdir -p "/etc/sv/$1" "$(runit_services)"
      printf '#!/bin/sh\nexec 2>&1\nexec %s\n' "$2" >"/etc/sv/$1/run"
      chmod 755 "/etc/sv/$1/run"
      ln -sfn "/etc/sv/$1" "$(runit_services)/$1"
      sv restart "$1" >/dev/null 2>&1 || true
      # runsvdir looks for new services every 5 s.
      wait_until_kept "$1" ;;
    *)
      # Whoever boots the machine runs /usr/local/lib/raptor/boot, and that all of boot.d.
      stop_running "$1"
      boot=$RAPTOR_ROOT/usr/local/lib/raptor/boot.d
      mkdir -p "$boot"
      cat >"$boot/$1" <<BOOT
#!/bin/sh
# Keeps $1 running; where it runs, it does nothing.
pid=\$(cat /run/$1.pid 2>/dev/null) && grep -q '$1' "/proc/\$pid/cmdline" 2>/dev/null && exit
# It belongs to no login: an engine's machines, which inherit whose it is, would let nobody in.
setsid sh -c '{ echo 4294967295 >/proc/self/loginuid; } 2>/dev/null
  echo \$\$ >/run/$1.pid; while :; do $2; sleep 1; done' \\
  </dev/null >>/var/log/raptor/$1.log 2>&1 8>&- &
BOOT
      chmod 755 "$boot/$1"
      [ -n "$RAPTOR_ROOT" ] || { "$boot/$1"; wait_until_kept "$1"; } ;;
  esac
}
# wait_until_kept NAME: what was just begun has a number only a moment later; 10 s at most.
wait_until_kept() {
  tries=0
  until is_kept "$1"; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "$1 does not come up" >&2; return 1; }
    sleep 0.05 2>/dev/null || sleep 1
  done
}
# is_kept NAME: whether it runs.
is_kept() {
  case $(init_system) in
    systemd) systemctl -q is-active "$1.service" ;;
    openrc) rc-service -q "$1" status >/dev/null 2>&1 ;;
    runit) sv status "$1" 2>/dev/null | grep -q '^run:' ;;
    *) grep -q "$1" "/proc/$(cat "/run/$1.pid" 2>/dev/null)/cmdline" 2>/dev/null ;;
  esac
}
# stop_running NAME: ends it and keeps it ended.
stop_running() {
  case $(init_system) in
    systemd)
      systemctl -q disable --now "$1.service" 2>/dev/null || true
      rm -f "/etc/systemd/system/$1.service"
      systemctl daemon-reload ;;
    openrc)
      rc-service -q "$1" stop 2>/dev/null || true
      rc-update -q del "$1" default 2>/dev/null || true
      rm -f "/etc/init.d/$1" ;;
    runit)
      sv stop "$1" >/dev/null 2>&1 || true
      rm -rf "$(runit_services)/$1" "/etc/sv/$1" ;;
    *)
      if [ -z "$RAPTOR_ROOT" ] && is_kept "$1"; then kill -- "-$(cat "/run/$1.pid")"; fi
      rm -f "$RAPTOR_ROOT/usr/local/lib/raptor/boot.d/$1" ;;
  esac
}
