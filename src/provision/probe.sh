PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n\r' '  ')"; }
has() { command -v "$1" >/dev/null 2>&1; }
say raptor_probe 1
say hostname "$(uname -n)"
say kernel "$(uname -s)"
say architecture "$(uname -m)"
say clock_s "$(date +%s)"
say user "$(id -un)"
if [ "$(id -u)" = 0 ]; then privilege=root
elif ! has sudo; then privilege=none
elif sudo -n true 2>/dev/null; then privilege=sudo
else privilege=password; fi
say privilege "$privilege"
as_root() { if [ "$privilege" = sudo ]; then sudo -n "$@"; else "$@"; fi; }
(
  ID= ID_LIKE= VERSION_ID= PRETTY_NAME=
  for file in /etc/os-release /usr/lib/os-release; do [ -r "$file" ] && { . "$file"; break; }; done
  say os_id "$ID"; say os_like "$ID_LIKE"; say os_version "$VERSION_ID"; say os_name "$PRETTY_NAME"
)
for manager in apt-get dnf yum zypper apk pacman; do
  has "$manager" && { say package_manager "$manager"; break; }
done
if [ -d /run/systemd/system ]; then say init systemd
elif [ -d /run/openrc ] && has rc-service; then say init openrc
elif [ -d /run/runit ] && has sv; then say init runit
else say init none; fi
place=$library
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
df -Pk "$place" | { read -r _; read -r _ _ _ free _ mount; say free_kib "$free"
  while read -r _ at _ options _; do [ "$at" = "$mount" ] && found=$options; done </proc/mounts
  case ,${found:-}, in *,noexec,*) say noexec 1;; esac; }
[ -d "$library" ] && say library_there 1
as_root test -e "$home" && say home_there 1
if [ -e "$command" ] || [ -L "$command" ]; then say command_there 1; fi
say release "$(basename "$(readlink "$library/current" 2>/dev/null)")"
say service_there "$(for file in $service_files; do [ -e "$file" ] && echo 1 && break; done)"
if [ -f "$program" ]; then
  say sha256 "$(sha256sum <"$program" 2>/dev/null | cut -c 1-64)"
  limit=; has timeout && limit='timeout 5'
  say agent "$(as_root $limit "$program" --home "$home" agent status -o json 2>/dev/null)"
fi
say end 1
