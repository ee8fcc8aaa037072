#!/bin/sh
# machine-image.sh ROOT: makes of a new Debian what libvirt and LXC boot. `hypervisors-image.sh` calls it.
set -eu
root=$1

# Vagrant enters with its well-known key, and changes it.
chroot "$root" useradd --create-home --shell /bin/bash vagrant
install -d -m 0700 "$root/home/vagrant/.ssh"
echo 'ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key' \
    >"$root/home/vagrant/.ssh/authorized_keys"
chmod 0600 "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"

# The lease that the initrd got is the one that the system gets: both ask by the same name.
mkdir -p "$root/etc/systemd/network"
cat >"$root/etc/systemd/network/lan.network" <<'END'
[Match]
Name=e*
[Network]
DHCP=ipv4
[DHCPv4]
ClientIdentifier=mac
END
echo '/dev/vda / ext4 rw,noatime 0 0' >"$root/etc/fstab"
# Where it boots without a seed, cloud-init keeps out of the way.
cat >"$root/etc/cloud/cloud.cfg.d/90-tests.cfg" <<'END'
datasource_list: [NoCloud, ConfigDrive]
network: {config: disabled}
resize_rootfs: false
growpart: {mode: off}
END
chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service
chroot "$root" systemctl --quiet mask systemd-networkd-wait-online.service apt-daily.timer \
    apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty.target \
    systemd-timesyncd.service
# The host keys of a box are those of all: raptor gives each machine its own.
: >"$root/etc/machine-id"
rm -rf "$root/etc/resolv.conf" "$root/etc/hostname" "$root"/var/lib/apt/lists/*

# What boots it: the modules that its disk and its network need, a lease, and over to the disk. An emulated
# processor needs seconds for what a distribution's initrd does besides.
initrd=$root/tmp/initrd
kernel=$(ls "$root/lib/modules")
mkdir -p "$initrd/bin" "$initrd/modules" "$initrd/dev" "$initrd/proc" "$initrd/sys" "$initrd/root"
for wanted in virtio_pci virtio_blk virtio_net ext4 crc32c_generic af_packet; do
    chroot "$root" modprobe --set-version "$kernel" --show-depends "$wanted" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    name=$(basename "$module")
    cp "$root/$module" "$initrd/modules/"
    case $name in *.xz) chroot "$root" busybox unxz "/tmp/initrd/modules/$name" ;; esac
    echo "${name%.xz}" >>"$initrd/order"
done
cp "$root/bin/busybox" "$initrd/bin/"
chroot "$root" ldd /bin/busybox | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$initrd${library%/*}"
    cp -L "$root$library" "$initrd$library"
done
cat >"$initrd/init" <<'END'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in $($b cat /order); do $b insmod "/modules/$module"; done
$b ip link set eth0 up
$b udhcpc -q -n -t 30 -T 1 -i eth0 -s /bin/busybox >/dev/null 2>&1
$b mount -t ext4 -o rw,noatime /dev/vda /root
$b umount /proc
$b umount /sys
exec $b switch_root /root /sbin/init
END
chmod 0755 "$initrd/init"
chroot "$root" sh -c 'cd /tmp/initrd && find . | busybox cpio -o -H newc' >"$root/boot/initrd" 2>/dev/null
rm -rf "$initrd"
