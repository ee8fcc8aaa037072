set -eu
case $(init_system) in
    systemd) systemctl enable -q --now docker.service ;;
    openrc)
        rc-update -q add docker default
        rc-service -q docker start
        ;;
    *)
        cat >/usr/local/lib/raptor-docker <<'RUN'
#!/bin/sh
PATH=$PATH:/usr/sbin:/sbin
rm -f /run/docker.pid
exec dockerd
RUN
        chmod 755 /usr/local/lib/raptor-docker
        keep_running raptor-docker /usr/local/lib/raptor-docker
        ;;
esac
tries=0
until docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
        docker version
    fi
    sleep 1
done
