#!/bin/bash
# Fetches the systems that Lamina boots in its demo, tests and bench from Debian's packages, without installing them, into build/guests:
#
#   vmlinuz, modules/   Debian's cloud kernel and the virtio modules that its guests need, in the order of loading (modules/order)
#   vmlinux             the kernel inside of vmlinuz, for the decoder's test
#   memtest86+x64.bin   memtest86+
#   gnumach.elf         GNU Mach, a Multiboot kernel (from the i386 archive)
#   initrd.gz           the demo's initramfs: busybox-static, tools/guest/init, the modules
#   disk.img            an ext4 file system
#   versions            which packages these are from
#
# Does again only what is missing or older than its sources here. `tools/fetch-guests.sh linux` (or memtest, gnumach) fetches just that.
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

# The kernel package of this day behind the metapackage.
cloud_kernel()
{
	apt-cache "${apt_options[@]}" depends linux-image-cloud-amd64 2>/dev/null |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

fetch_linux()
{
	[[ ! -f $guests/vmlinuz || ! -f $guests/modules/order ]] || return 0
	local package version root=$scratch/linux path
	apt_options=()
	package=$(cloud_kernel)
	if [[ -z $package ]]; then
		own_lists amd64
		package=$(cloud_kernel)
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

# The initramfs and the disk: the same bytes for the same inputs (times, owners and the file system's identifiers are fixed).
make_initrd()
{
	local initrd=$guests/initrd.gz root=$scratch/initrd applet dir
	if [[ -f $initrd && -z $(find "$top/tools/guest" "$guests/modules/order" "$top/tools/fetch-guests.sh" -newer "$initrd") ]]; then
		return 0
	fi
	[[ -x /bin/busybox ]] || fail "/bin/busybox is missing: run tools/setup.sh first (busybox-static)"
	for dir in bin dev etc lib/modules mnt proc root sys tmp; do
		mkdir -p "$root/$dir"
	done
	cp /bin/busybox "$root/bin/busybox"
	while read -r applet; do
		[[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
	done < <(/bin/busybox --list)
	gcc -Os -static -nostdlib -fno-pie -no-pie -fno-stack-protector -fcf-protection=none -Wall -Wextra \
		-Wl,--build-id=none -Wl,-z,noseparate-code -s -o "$root/bin/tsc" "$top/tools/guest/tsc.c"
	gcc -O2 -static -Wall -Wextra -Wl,--build-id=none -s -o "$root/bin/programs" "$top/tools/guest/programs.c"
	cp "$guests"/modules/* "$root/lib/modules/"
	install -m 755 "$top/tools/guest/init" "$root/init"
	find "$root" -exec touch -h -d @0 {} +
	chmod -R go=u,go-w "$root"
	(cd "$root" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) | gzip -9n >"$initrd.new"
	mv "$initrd.new" "$initrd"
	say "made initrd.gz"
}

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

case ${1:-all} in
all)
	fetch_linux
	make_vmlinux
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
memtest) fetch_memtest ;;
gnumach) fetch_gnumach ;;
*) fail "usage: tools/fetch-guests.sh [all|linux|memtest|gnumach]" ;;
esac
