#!/bin/bash
# Installs the Debian 12 packages that building, running and testing Lamina needs. Says what it installs; does nothing when all are
# there. Needs root only to install: otherwise it prints the one command to run, and fails.
#
#   tools/setup.sh            install what is missing
#   tools/setup.sh --check    only say what is missing (exit status 1 if anything is)
set -euo pipefail

packages=(
	# building Lamina
	gcc libc6-dev clang make nasm binutils acpica-tools gnu-efi python3 psf-unifont
	# bootable images and the guests' files
	grub-common grub-pc-bin grub-efi-amd64-bin xorriso mtools
	busybox-static debootstrap e2fsprogs fdisk fio cpio kmod gzip xz-utils zstd lz4 file
	# the machines that Lamina is tried on
	bochs bochsbios vgabios qemu-system-x86 ipxe-qemu ovmf
	# tests and checks
	libcmocka-dev libzydis-dev python3-pytest python3-pexpect
	cppcheck clang-tidy clang-format shellcheck pyflakes3
)

fail()
{
	echo "setup: $*" >&2
	exit 1
}

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
[[ ${1:-} != --check ]] || exit 1

if [[ $EUID -ne 0 ]]; then
	echo "setup: run this as root, then repeat your command:" >&2
	echo "    sudo sh -c 'apt-get update && apt-get install --no-install-recommends -y ${missing[*]}'" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "setup: installing them with apt-get"
# A foreign repository that does not answer must not stop us: whether the packages can be had is what counts.
apt-get -qq -o Acquire::Retries=3 update || echo "setup: apt-get update reported an error; trying with the lists at hand" >&2
apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends -y "${missing[@]}" >/dev/null ||
	fail "apt-get could not install: ${missing[*]}"
echo "setup: done"
