"""What KVM on this machine offers to its guests. The presence of /dev/kvm says nothing about it; the CPUID that KVM supports does."""
import fcntl
import os
import struct

KVM_GET_SUPPORTED_CPUID = 0xC008AE05    # _IOWR(0xAE, 0x05, struct kvm_cpuid2)
HEADER = struct.Struct("<II")           # nent, padding
ENTRY = struct.Struct("<10I")           # function, index, flags, eax, ebx, ecx, edx, padding[3]
ENTRIES = 256
CPUID_1_ECX_VMX = 1 << 5
CPUID_80000001_ECX_SVM = 1 << 2


def supported_cpuid(device):
    """KVM's answer as bytes, or None if there is no KVM."""
    buffer = bytearray(HEADER.size + ENTRIES * ENTRY.size)
    HEADER.pack_into(buffer, 0, ENTRIES, 0)
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(descriptor, KVM_GET_SUPPORTED_CPUID, buffer, True)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return bytes(buffer)


def extension(buffer):
    """The virtualization extension in a struct kvm_cpuid2: "VT-x", "AMD-V" or None."""
    count = min(HEADER.unpack_from(buffer)[0], (len(buffer) - HEADER.size) // ENTRY.size)
    for number in range(count):
        function, _, _, _, _, ecx, *_ = ENTRY.unpack_from(buffer, HEADER.size + number * ENTRY.size)
        if function == 1 and ecx & CPUID_1_ECX_VMX:
            return "VT-x"
        if function == 0x80000001 and ecx & CPUID_80000001_ECX_SVM:
            return "AMD-V"
    return None


def offers(device="/dev/kvm"):
    """The extension that KVM gives its guests: "VT-x", "AMD-V" or None."""
    buffer = supported_cpuid(device)
    return extension(buffer) if buffer else None
