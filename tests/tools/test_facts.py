"""What the facts check refuses and what it lets pass."""
import os
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tools"))

import facts  # noqa: E402

HEADERS = {
    "lib/x86/registers.h": "#ifndef LIB_X86_REGISTERS_H\n#define LIB_X86_REGISTERS_H\n#define CR0_PE BIT(0) /* protection */\n"
                           "#define EFER_LMA BIT(10)\n#define DR6_RESET 0xffff0ff0\n#endif\n",
    "lib/x86/msr.h": "#define MSR_EFER 0xc0000080\n",
    "lib/x86/apic.h": "#define LAPIC_BASE 0xfee00000ULL\n#define IOWIN 0x10\n"
                      "enum lapic_register {\n\tLAPIC_ID = 0x02,\n\tLAPIC_VERSION, /* 3 */\n};\n",
    "lib/pci.h": "#define PCI_COMMAND_IO 0x0001U\n",
}


def refused(text, path="vmm/some.c", **others):
    return list(facts.complaints({**HEADERS, path: text, **others}))


@pytest.mark.parametrize("text, word", [
    ("#define CR0_PE 1\n", "registers.h defines it"),
    ("# define IOWIN 4 /* in 32-bit words */\n", "apic.h defines it"),
    ("enum {\n\tOTHER,\n\tLAPIC_ID = 2,\n};\n", "apic.h defines it"),
    ("enum { A = F(1, 2), LAPIC_VERSION };\n", "apic.h defines it"),
    ("#define GUEST_CR0_PE BIT(0)\n", "as CR0_PE"),
    ("#define VCPU_EFER_LMA (1ULL << 10)\n", "as EFER_LMA"),
    ("enum { HOST_LAPIC_VERSION = 3 };\n", "as LAPIC_VERSION"),
    ("#define COMMAND_IO BIT(0)\n", "as PCI_COMMAND_IO"),
    ("#define MSR_OF_NOBODY 0x123\n", "msr.h"),
    ("x = 0xfee00000 | apic_id << 12;\n", "as LAPIC_BASE"),
    ("rdmsr(3221225600U);\n", "as MSR_EFER"),
])
def test_refused(text, word):
    found = refused(text)
    assert len(found) == 1 and word in found[0] and found[0].startswith("vmm/some.c:"), found


@pytest.mark.parametrize("text", [
    "mov ecx, 0xc0000080 ; EFER\n",
    "CR0_PE equ 1\n",
    "%define CR0_PE 1\n",
    "EFER_LMA: equ 1 << 10\n",
])
def test_refused_in_assembly(text):
    assert len(refused(text, "boot/some.asm")) == 1


@pytest.mark.parametrize("text", [
    "#define ALIAS_CR0_PE CR0_PE\n",             # refers to the fact
    "#define OTHER_CR0_PE BIT(5)\n",             # another number
    "#define COMMAND_IO 2\n",
    "#define VM_GUEST_CR0_PE 1\n",               # more than one word before it
    "/* #define CR0_PE 1, at 0xfee00000 */\n// 0xfee00000\nlog(\"0xfee00000 %x\");\n",
    "#define FIELDS(X) X(CR0_PE, 1)\n",
    "return value & CR0_PE ? 0x1000 : 0xf;\n",
    "struct { int CR0; } x = { 1 };\n",
])
def test_passes(text):
    assert not refused(text)


def test_two_files_and_one_number():
    text = "#define FIFO_LENGTH 16\n"
    assert "vmm/one.c defines it, too" in refused(text, "vmm/two.c", **{"vmm/one.c": text})[0]
    assert not refused(text, "vmm/two.c", **{"vmm/one.c": "#define FIFO_LENGTH 32\n"})
    assert not refused("#define ENTRIES 512\n", "vmm/two.c", **{"vmm/one.c": "#define ENTRIES 512\n"})
    assert not refused(text, "tests/unit/test_two.c", **{"tests/unit/test_one.c": text})


def test_tests_have_bare_numbers_but_no_definitions():
    assert not refused("assert_int_equal(base, 0xfee00000);\n", "tests/unit/test_some.c")
    assert refused("#define LAPIC_BASE 0xfee00000\n", "tests/unit/test_some.c")


def test_the_line_is_right():
    assert refused("/* two\n * lines */\n\n#define CR0_PE \\\n\t1\n")[0].startswith("vmm/some.c:4: CR0_PE")
    assert refused("\nenum {\n\tONE,\n\n\tLAPIC_ID,\n};\n")[0].startswith("vmm/some.c:5: LAPIC_ID")
