#!/bin/bash
# Fetches the systems that Lamina boots in its demo, tests and bench from Debian's packages, without installing them, into build/guests:
#
#   vmlinuz, modules/   Debian's cloud kernel and the virtio modules that its guests need, in the order of loading (modules/order)
#   vmlinux             the kernel inside of vmlinuz, for the decoder's test
#   memtest86+x64.bin   memtest86+
#   gnumach.elf         GNU Mach, a Multiboot kernel (from the i386 archive)
#   vmlinuz-686, vmlinuz-686-pae    Debian's 32-bit kernels, with page tables of two levels and with PAE (from the i386 archive)
#   initrd-i386.gz      their initramfs: the i386 busybox-static, tools/guest/init
#   initrd.gz           the demo's initramfs: busybox-static, tools/guest/init, the modules
#   disk.img            an ext4 file system
#   disks/              for tests and the bench of real disks, only when asked for: vmlinuz, Debian's full kernel, and initrd.gz with its
#                       modules for NVMe, AHCI, ATA and virtio, fio, and tools/guest/disk-init
#   versions            which packages these are from
#
# Does again only what is missing or older than its sources here. `tools/fetch-guests.sh linux` (or i386, memtest, gnumach) fetches just that.
set -euo pipefail
shopt -s nullglob

top=$(cd "$(dirname "$0")/.." && pwd)
guests=$top/build/guests
mkdir -p "$guests"
# One run at a time: two would write the same files.
exec 9>"$guests/.lock"
flock 9
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lamina-guests.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

say() { echo "guests: $*"; }
fail()
{
	echo "guests: $*" >&2
	exit 1
}

need()
{
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null ||
			fail "$tool is missing: run tools/setup.sh first"
	done
}
need dpkg apt-get cpio gzip lz4 gcc mke2fs depmod modprobe
PATH=$PATH:/sbin:/usr/sbin

# Package lists of our own, for another architecture or where the machine's are missing or out of date. $1 = architecture.
own_lists()
{
	local dir=$scratch/apt-$1
	apt_options=(-o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache"
		-o APT::Sandbox::User=root)
	[[ ! -d $dir ]] || return 0
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	# Repositories beside Debian's may know nothing of the architecture: only the download decides.
	apt-get -qq "${apt_options[@]}" -o Acquire::Retries=3 update >"$dir/log" 2>&1 || true
}

# Unpacks the package $1 of architecture $2 into $scratch/$3, trying three times.
unpack()
{
	local package=$1 arch=$2 dir=$scratch/$3 try deb
	for try in 1 2 3; do
		if [[ $arch == amd64 && $try == 1 ]]; then
			apt_options=(-o APT::Sandbox::User=root)
		else
			own_lists "$arch"
		fi
		rm -rf "$scratch/deb"
		mkdir "$scratch/deb"
		if (cd "$scratch/deb" && apt-get -qq "${apt_options[@]}" -o Acquire::Retries=3 download "$package") >"$scratch/log" 2>&1; then
			deb=("$scratch"/deb/*.deb)
			dpkg -x "${deb[0]}" "$dir" || fail "$package: the downloaded package does not unpack"
			say "fetched $(basename "${deb[0]}")"
			sed -i "/^$3 /d" "$guests/versions" 2>/dev/null || true
			echo "$3 $package $(dpkg-deb -f "${deb[0]}" Version)" >>"$guests/versions"
			return 0
		fi
		sleep $((try * 2 - 2))
	done
	cat "$scratch/log" >&2
	fail "the Debian package $package ($arch) could not be downloaded; is there a network, and a Debian 12 source for apt?"
}

# The kernel package of this day behind the metapackage $1.
kernel_behind()
{
	apt-cache "${apt_options[@]}" depends "$1" 2>/dev/null |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

fetch_linux()
{
	[[ ! -f $guests/vmlinuz || ! -f $guests/modules/order ]] || return 0
	local package version root=$scratch/linux path
	apt_options=()
	package=$(kernel_behind linux-image-cloud-amd64)
	if [[ -z $package ]]; then
		own_lists amd64
		package=$(kernel_behind linux-image-cloud-amd64)
	fi
	[[ -n $package ]] || fail "apt knows no linux-image-cloud-amd64; run apt-get update, or add a Debian 12 source"
	unpack "$package" amd64 linux
	version=${package#linux-image-}
	[[ -f $root/boot/vmlinuz-$version ]] || fail "$package holds no boot/vmlinuz-$version"

	depmod -b "$root" "$version"
	rm -rf "$guests/modules"
	mkdir "$guests/modules"
	# modprobe lists what each needs before it, in the order of loading.
	modprobe -d "$root" -S "$version" --show-depends -a virtio_pci virtio_blk |
		awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$scratch/modules"
	while read -r path; do
		cp "$path" "$guests/modules/"
	done <"$scratch/modules"
	sed 's|.*/||' "$scratch/modules" >"$guests/modules/order"
	grep -q virtio_blk "$guests/modules/order" || fail "$package holds no virtio_blk module"
	cp "$root/boot/vmlinuz-$version" "$guests/vmlinuz.new"
	mv "$guests/vmlinuz.new" "$guests/vmlinuz"
}

make_vmlinux()
{
	[[ ! $guests/vmlinux -nt $guests/vmlinuz ]] || return 0
	/usr/bin/python3 "$top/tools/extract-vmlinux.py" "$guests/vmlinuz" "$guests/vmlinux" || fail "vmlinuz could not be unpacked"
	say "made vmlinux"
}

fetch_memtest()
{
	[[ ! -f $guests/memtest86+x64.bin ]] || return 0
	unpack memtest86+ amd64 memtest
	cp "$scratch/memtest/boot/memtest86+x64.bin" "$guests/memtest86+x64.bin.new" || fail "memtest86+ holds no memtest86+x64.bin"
	mv "$guests/memtest86+x64.bin.new" "$guests/memtest86+x64.bin"
}

fetch_gnumach()
{
	[[ ! -f $guests/gnumach.elf ]] || return 0
	unpack gnumach-image-1.8-486 i386 gnumach
	local image=("$scratch"/gnumach/boot/gnumach*.gz)
	[[ ${#image[@]} -eq 1 ]] || fail "gnumach-image-1.8-486 holds no boot/gnumach*.gz"
	gzip -dc "${image[0]}" >"$guests/gnumach.elf.new"
	mv "$guests/gnumach.elf.new" "$guests/gnumach.elf"
}

# $1: 686 or 686-pae
fetch_linux_i386()
{
	local target=$guests/vmlinuz-$1 package
	[[ ! -f $target ]] || return 0
	own_lists i386
	package=$(kernel_behind "linux-image-$1")
	[[ -n $package ]] || fail "the i386 archive has no linux-image-$1; is there a network, and a Debian 12 source for apt?"
	unpack "$package" i386 "linux-$1"
	cp "$scratch/linux-$1/boot/vmlinuz-${package#linux-image-}" "$target.new" || fail "$package holds no kernel"
	mv "$target.new" "$target"
}

# What every initramfs has, in $1: directories, the busybox $2 with its names, init.
make_root()
{
	local dir applet
	for dir in bin dev etc lib/modules mnt proc root sys tmp; do
		mkdir -p "$1/$dir"
	done
	cp "$2" "$1/bin/busybox"
	while read -r applet; do
		[[ $applet == busybox ]] || ln -s busybox "$1/bin/$applet"
	done < <(/bin/busybox --list)
	install -m 755 "$top/tools/guest/init" "$1/init"
}

# Packs the initramfs $1 into the file $2. The same bytes for the same inputs: times and owners are fixed.
pack_root()
{
	find "$1" -exec touch -h -d @0 {} +
	chmod -R go=u,go-w "$1"
	(cd "$1" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) | gzip -9n >"$2.new"
	mv "$2.new" "$2"
	say "made $(basename "$2")"
}

make_initrd_i386()
{
	local initrd=$guests/initrd-i386.gz root=$scratch/initrd-i386
	if [[ $initrd -nt $top/tools/guest/init && $initrd -nt $top/tools/fetch-guests.sh ]]; then
		return 0
	fi
	unpack busybox-static i386 busybox
	make_root "$root" "$scratch/busybox/bin/busybox"
	: >"$root/lib/modules/order"
	pack_root "$root" "$initrd"
}

make_initrd()
{
	local initrd=$guests/initrd.gz root=$scratch/initrd
	if [[ -f $initrd && -z $(find "$top/tools/guest" "$guests/modules/order" "$top/tools/fetch-guests.sh" -newer "$initrd") ]]; then
		return 0
	fi
	[[ -x /bin/busybox ]] || fail "/bin/busybox is missing: run tools/setup.sh first (busybox-static)"
	make_root "$root" /bin/busybox
	gcc -Os -static -nostdlib -fno-pie -no-pie -fno-stack-protector -fcf-protection=none -Wall -Wextra \
		-Wl,--build-id=none -Wl,-z,noseparate-code -s -o "$root/bin/tsc" "$top/tools/guest/tsc.c"
	gcc -O2 -static -Wall -Wextra -Wl,--build-id=none -s -o "$root/bin/programs" "$top/tools/guest/programs.c"
	cp "$guests"/modules/* "$root/lib/modules/"
	pack_root "$root" "$initrd"
}

# The same bytes each time: the times and the file system's identifiers are fixed.
make_disk()
{
	[[ ! -f $guests/disk.img ]] || return 0
	local root=$scratch/disk
	mkdir "$root"
	echo "This file is on the disk of Lamina's demo guest." >"$root/hello.txt"
	find "$root" -exec touch -h -d @0 {} +
	rm -f "$guests/disk.img.new"
	# hash_seed and UUID fixed; E2FSPROGS_FAKE_TIME sets every time stamp in the file system.
	E2FSPROGS_FAKE_TIME=1 mke2fs -q -F -t ext4 -d "$root" -L lamina -b 4096 -U 6c616d69-6e61-4000-8000-000000000001 \
		-E hash_seed=6c616d69-6e61-4000-8000-000000000002,lazy_itable_init=0,root_owner=0:0 "$guests/disk.img.new" 16M >/dev/null
	mv "$guests/disk.img.new" "$guests/disk.img"
	say "made disk.img"
}

# The full kernel, and an initramfs with the drivers of disks, and fio with its libraries.
make_disks()
{
	local dir=$guests/disks package version root=$scratch/full tree=$scratch/disks path
	if [[ ! -f $dir/vmlinuz || ! -f $dir/modules/order ]]; then
		apt_options=()
		package=$(kernel_behind linux-image-amd64)
		if [[ -z $package ]]; then
			own_lists amd64
			package=$(kernel_behind linux-image-amd64)
		fi
		[[ -n $package ]] || fail "apt knows no linux-image-amd64; run apt-get update, or add a Debian 12 source"
		unpack "$package" amd64 full
		version=${package#linux-image-}
		depmod -b "$root" "$version"
		rm -rf "$dir/modules"
		mkdir -p "$dir/modules"
		modprobe -d "$root" -S "$version" --show-depends -a crc32c_generic virtio_pci virtio_blk nvme ahci ata_piix sd_mod ext4 |
			awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$scratch/modules"
		while read -r path; do
			cp "$path" "$dir/modules/"
		done <"$scratch/modules"
		sed 's|.*/||' "$scratch/modules" >"$dir/modules/order"
		cp "$root/boot/vmlinuz-$version" "$dir/vmlinuz.new"
		mv "$dir/vmlinuz.new" "$dir/vmlinuz"
	fi
	if [[ $dir/initrd.gz -nt $top/tools/guest/disk-init && $dir/initrd.gz -nt $dir/modules/order && $dir/initrd.gz -nt $top/tools/fetch-guests.sh ]]; then
		return 0
	fi
	need fio
	for path in bin dev etc lib/modules mnt proc root sys tmp; do
		mkdir -p "$tree/$path"
	done
	cp /bin/busybox "$tree/bin/busybox"
	while read -r path; do
		[[ $path == busybox ]] || ln -s busybox "$tree/bin/$path"
	done < <(/bin/busybox --list)
	# fio and what it is linked with, at the same places.
	{ command -v fio; ldd "$(command -v fio)" | grep -o '/[^ ]*'; } | while read -r path; do
		install -D -m 755 "$(readlink -f "$path")" "$tree$path"
	done
	cp "$dir"/modules/* "$tree/lib/modules/"
	install -m 755 "$top/tools/guest/disk-init" "$tree/init"
	find "$tree" -exec touch -h -d @0 {} +
	(cd "$tree" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) | gzip -9n >"$dir/initrd.new"
	mv "$dir/initrd.new" "$dir/initrd.gz"
	say "made disks/initrd.gz"
}

case ${1:-all} in
all)
	fetch_linux
	make_vmlinux
	fetch_linux_i386 686
	fetch_linux_i386 686-pae
	make_initrd_i386
	fetch_memtest
	fetch_gnumach
	make_initrd
	make_disk
	;;
linux)
	fetch_linux
	make_vmlinux
	make_initrd
	make_disk
	;;
i386)
	fetch_linux_i386 686
	fetch_linux_i386 686-pae
	make_initrd_i386
	;;
memtest) fetch_memtest ;;
gnumach) fetch_gnumach ;;
disks) make_disks ;;
*) fail "usage: tools/fetch-guests.sh [all|linux|i386|memtest|gnumach|disks]" ;;
esac
