#!/bin/sh
# What a shell inside the new image does: `hypervisors-image.sh` says what comes of it.
set -eu
PATH=$PATH:/usr/sbin:/sbin
cd /opt/machine
mv root/boot/vmlinuz-* vmlinuz
mv root/boot/initrd initrd
rm -rf root/boot/*
mke2fs -q -F -t ext4 -L root -d root disk.raw 1500M
qemu-img convert -O qcow2 disk.raw disk.qcow2
rm disk.raw

mkdir box
cat >box/metadata.json <<'END'
{"provider": "libvirt", "format": "qcow2", "virtual_size": 2}
END
echo 'Vagrant.configure("2") { |config| }' >box/Vagrantfile
ln disk.qcow2 box/box.img
tar -C box -cf libvirt.box metadata.json Vagrantfile box.img
rm -r box

mkdir box rootfs
rm -rf root/lib/modules/* root/usr/lib/modules/*
: >root/etc/fstab
: >root/etc/cloud/cloud-init.disabled
mv root rootfs/rootfs
tar -C rootfs --numeric-owner -c ./rootfs | gzip -1 >box/rootfs.tar.gz
rm -r rootfs
cat >box/metadata.json <<'END'
{"provider": "lxc", "version": "1.0.0"}
END
cat >box/lxc-config <<'END'
lxc.include = /usr/share/lxc/config/common.conf
lxc.mount.auto = proc:rw sys:ro cgroup:rw:force
lxc.apparmor.profile = unconfined
lxc.tty.max = 0
# Which devices it may use is what the container around it says.
lxc.cgroup.devices.deny =
lxc.cgroup.devices.allow =
lxc.cgroup2.devices.deny =
lxc.cgroup2.devices.allow =
END
tar -C box -cf lxc.box metadata.json lxc-config rootfs.tar.gz
rm -r box

# A container has neither the right nor the need to confine what it runs any further.
cat >>/etc/libvirt/qemu.conf <<'END'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
END
# Nobody else has its addresses: three seconds of asking around before each lease find nobody.
sed -i -e "s|^<network>|<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>|" \
    -e "s|^</network>|  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>\n&|" \
    /etc/libvirt/qemu/networks/default.xml
grep -q no-ping /etc/libvirt/qemu/networks/default.xml
