#!/bin/bash
# Installs Debian 12 on a disk image, from Debian's packages, for the tests of an installed system; into build/guests/root:
#
#   disk.img            a GPT disk of 769 MiB (its holes are no data) with one partition, ext4, that holds the system; root's password
#                       is "lamina", a login prompt comes on the serial console
#   vmlinuz, initrd     the kernel and the initrd that are in its /boot: Lamina loads them from the boot medium
#   cmdline             what that kernel is to be told
#   packages            what is installed, with versions
#
# Must be root, for chroot and the files' owners; needs no loop device. Does nothing if the image is newer than this script. The same
# bytes for the same packages. LAMINA_MIRROR=URL: another mirror than apt's.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
out=$top/build/guests/root
PATH=$PATH:/sbin:/usr/sbin
# The host's locale and umask are no business of the image's.
export LC_ALL=C
umask 022

suite=bookworm
packages=systemd-sysv,udev,kmod,login,e2fsprogs,initramfs-tools,linux-image-cloud-amd64
disk_uuid=6c616d69-6e61-4000-8000-000000000010
part_uuid=6c616d69-6e61-4000-8000-000000000011
root_uuid=6c616d69-6e61-4000-8000-000000000012
hash_seed=6c616d69-6e61-4000-8000-000000000013
part_start=1        # MiB
part_size=767

say() { echo "guests: $*"; }
fail()
{
	echo "guests: $*" >&2
	exit 1
}

is_there() { [[ $out/disk.img -nt $top/tools/make-root.sh ]]; }

! is_there || exit 0
[[ $EUID -eq 0 ]] || fail "installing Debian on a disk image needs root: sudo tools/make-root.sh"
mkdir -p "$out"
# One run at a time: two would write the same files.
exec 9>"$out/.lock"
flock 9
! is_there || exit 0
for tool in debootstrap mke2fs debugfs sfdisk chroot perl; do
	command -v "$tool" >/dev/null || fail "$tool is missing: run tools/setup.sh first"
done
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lamina-root.XXXXXX")
root=$scratch/root
mkdir "$root"
# In memory if that may be mounted: dpkg waits for the medium after every file.
mount -t tmpfs -o mode=755,size=1500m tmpfs "$root" || say "no tmpfs can be mounted: installing on the disk, which is slower"

# debootstrap leaves /proc mounted when it fails.
clean_up()
{
	local at
	for at in "$root/proc" "$root/sys" "$root"; do
		! mountpoint -q "$at" || umount "$at" || fail "$at is still mounted: $scratch stays"
	done
	rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT

# The mirror that apt uses for the suite, if debootstrap can use it too.
mirror()
{
	local uri
	if [[ -n ${LAMINA_MIRROR:-} ]]; then
		echo "$LAMINA_MIRROR"
		return
	fi
	# shellcheck disable=SC2016  # the dollar is apt's
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" 'Origin: Debian' 2>/dev/null |
		grep -m 1 '^https\?://' || true)
	echo "${uri:-http://deb.debian.org/debian}"
}

install_system()
{
	local from try
	from=$(mirror)
	say "installing Debian from $from; this takes a minute or two"
	for try in 1 2 3; do
		# A second try goes on with the packages that the first one has fetched. INITRD=No: the initrd is made later, once.
		if INITRD=No debootstrap --variant=minbase --arch=amd64 --merged-usr --include="$packages" "$suite" "$root" "$from" >"$scratch/log" 2>&1; then
			return
		fi
		sleep $((try * 2))
	done
	tail -20 "$scratch/log" "$root/debootstrap/debootstrap.log" >&2 || true
	fail "debootstrap could not install Debian from $from; is there a network?"
}

# What an installer would write.
configure()
{
	local version
	echo "UUID=$root_uuid / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
	echo lamina >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 lamina\n' >"$root/etc/hosts"
	: >"$root/etc/resolv.conf"
	: >"$root/etc/machine-id"           # systemd makes one at the first boot
	printf 'virtio_pci\nvirtio_blk\n' >>"$root/etc/initramfs-tools/modules"
	chroot "$root" usermod -p "$(perl -e 'print crypt("lamina", "\$6\$lamina\$")')" root
	chroot "$root" dpkg-query -W >"$scratch/packages"

	# The newest of what follows has the kernel's time, so that the same packages give the same image.
	SOURCE_DATE_EPOCH=$(stat -L -c %Y "$root/vmlinuz")
	export SOURCE_DATE_EPOCH
	version=$(basename "$(readlink "$root/vmlinuz")" | sed 's/^vmlinuz-//')
	chroot "$root" update-initramfs -c -k "$version" >"$scratch/log" 2>&1 || {
		cat "$scratch/log" >&2
		fail "the initrd could not be made"
	}
	ln -sf "boot/initrd.img-$version" "$root/initrd.img"
}

# Fetched packages, and what tells one run from another.
tidy()
{
	local day=$((SOURCE_DATE_EPOCH / 86400)) file
	rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/tmp/* \
		"$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
	# The third field is the day of a password's last change.
	for file in "$root"/etc/shadow "$root"/etc/shadow-; do
		sed -i "s/^\([^:]*:[^:]*\):[0-9]*:/\1:$day:/" "$file"
	done
	find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

make_image()
{
	local image=$out/disk.img.new
	rm -f "$image"
	truncate -s $((part_start + part_size + 1))M "$image"      # the last MiB is for the other copy of the GPT
	sfdisk -q "$image" <<-END
		label: gpt
		label-id: $disk_uuid
		start=${part_start}MiB, size=${part_size}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$part_uuid, name=root
	END
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -d "$root" -L root -b 4096 -U $root_uuid \
		-E "offset=$((part_start << 20)),hash_seed=$hash_seed,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
		"$image" ${part_size}M
	# mke2fs copies the files' times of access and of change too, which are this run's.
	find "$root" -mindepth 1 -printf "set_inode_field \"/%P\" atime @$SOURCE_DATE_EPOCH\n" \
		-printf "set_inode_field \"/%P\" ctime @$SOURCE_DATE_EPOCH\n" >"$scratch/times"
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$scratch/times" "$image?offset=$((part_start << 20))" >/dev/null 2>"$scratch/log"
	if grep -v '^debugfs [0-9]' "$scratch/log" >&2; then
		fail "the files' times could not be set"
	fi
	cp -L "$root/vmlinuz" "$out/vmlinuz"
	cp -L "$root/initrd.img" "$out/initrd"
	cp "$scratch/packages" "$out/packages"
	echo "root=UUID=$root_uuid ro console=ttyS0 quiet" >"$out/cmdline"
	mv "$image" "$out/disk.img"
	say "made root/disk.img"
}

install_system
configure
tidy
make_image
