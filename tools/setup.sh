#!/bin/bash
# Installs the Debian 12 packages that Lamina needs. Says what it installs, and how far it is; does nothing when all are there. Needs root
# only to install: otherwise it prints the one command to run, and fails.
#
#   tools/setup.sh                everything: building, running, testing
#   tools/setup.sh GROUP …        only what these groups need: run (build, image, the demo's guest, QEMU), bochs, uefi, net
#   tools/setup.sh --check …      only say what is missing (exit status 1 if anything is)
set -euo pipefail

declare -A group=(
	# building Lamina, bootable images and the demo's guest, the machine that `make run` takes
	[run]="gcc libc6-dev make nasm binutils acpica-tools gnu-efi python3 psf-unifont
		grub-common grub-pc-bin xorriso mtools busybox-static e2fsprogs cpio kmod gzip xz-utils zstd lz4 file qemu-system-x86"
	[bochs]="bochs bochsbios vgabios"
	[uefi]="ovmf"
	[net]="ipxe-qemu grub-efi-amd64-bin"
	# installed systems, whole boots, unit tests, static checks
	[test]="debootstrap fdisk fio clang libclang-rt-14-dev libcmocka-dev libzydis-dev python3-pytest python3-pexpect
		cppcheck clang-tidy clang-format shellcheck pyflakes3"
)

fail()
{
	echo "setup: $*" >&2
	exit 1
}

check_only=
if [[ ${1:-} == --check ]]; then
	check_only=yes
	shift
fi
[[ $# -gt 0 ]] || set -- run bochs uefi net test
packages=()
for name in "$@"; do
	[[ -n ${group[$name]:-} ]] || fail "$name: the groups are ${!group[*]}"
	read -r -d '' -a names <<<"${group[$name]}" || true
	packages+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	fail "this machine has no apt: install the equivalents of: ${packages[*]}"
fi

# One dpkg-query for all of them; names that dpkg does not know are left out of its answer.
declare -A installed=()
while read -r status name; do
	[[ $status == ii* ]] && installed[$name]=1
done < <(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "${packages[@]}" 2>/dev/null || true)

missing=()
for name in "${packages[@]}"; do
	[[ -n ${installed[$name]:-} ]] || missing+=("$name")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

echo "setup: missing packages: ${missing[*]}"
[[ -z $check_only ]] || exit 1

if [[ $EUID -ne 0 ]]; then
	echo "setup: run this as root, then repeat your command:" >&2
	echo "    sudo sh -c 'apt-get update && apt-get install --no-install-recommends -y ${missing[*]}'" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "setup: installing them with apt-get"
# Told by apt-get what it does, says so at each tenth of it: "pmstatus:PACKAGE:PER CENT:WHAT", "dlstatus:NUMBER:PER CENT:WHAT".
show_progress()
{
	local kind _name percent what last=
	while IFS=: read -r kind _name percent what; do
		[[ $kind == dlstatus || $kind == pmstatus ]] || continue
		percent=${percent%%.*}
		[[ $kind${percent%?} != "$last" ]] || continue
		last=$kind${percent%?}
		printf 'setup: %3s %% of %s: %s\n' "$percent" "$([[ $kind == dlstatus ]] && echo fetching || echo installing)" "$what"
	done
}

# A foreign repository that does not answer must not stop us: whether the packages can be had is what counts.
apt-get -qq -o Acquire::Retries=3 update || echo "setup: apt-get update reported an error; trying with the lists at hand" >&2
{
	apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o APT::Status-Fd=3 install --no-install-recommends -y "${missing[@]}" \
		3>&1 >/dev/null || fail "apt-get could not install: ${missing[*]}"
} | show_progress
echo "setup: done"
