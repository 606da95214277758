/* Instructions and register names that the guests use. */
#ifndef TESTS_GUESTS_LIB_CPU_H
#define TESTS_GUESTS_LIB_CPU_H

#include "lib/types.h"

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_TSC_ADJUST = 0x3b,
	MSR_MTRRCAP = 0xfe,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC = 0x800,
	MSR_EFER = 0xc0000080,
	MSR_STAR = 0xc0000081,
	MSR_LSTAR = 0xc0000082,
	MSR_CSTAR = 0xc0000083,
	MSR_FMASK = 0xc0000084,
	MSR_FS_BASE = 0xc0000100,
	MSR_GS_BASE = 0xc0000101,
	MSR_KERNEL_GS_BASE = 0xc0000102,
	MSR_TSC_AUX = 0xc0000103,
};

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME BIT(0)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_VMXE BIT(13)
#define CR4_SMXE BIT(14)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)

#define RFLAGS_CF BIT(0)
#define RFLAGS_ZF BIT(6)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_DF BIT(10)
#define RFLAGS_RF BIT(16)
#define RFLAGS_AC BIT(18)

/* Selectors of the guests' GDT (start.asm). */
enum {
	SEL_CODE64 = 0x08,
	SEL_DATA = 0x10,
	SEL_CODE32 = 0x18,
	SEL_USER_DATA = 0x23,
	SEL_USER_CODE64 = 0x2b,
	SEL_CODE16 = 0x30,
	SEL_DATA16 = 0x38,
	SEL_NOT_PRESENT = 0x40,
	SEL_USER_CODE32 = 0x4b,
	SEL_TSS = 0x50,
	SEL_FREE = 0x60,
};

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

#define PORT_ACCESSORS(suffix, type) \
	static inline type in##suffix(uint16_t port) \
	{ \
		type value; \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port) : "memory"); \
		return value; \
	} \
	static inline void out##suffix(uint16_t port, type value) \
	{ \
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port) : "memory"); \
	}

PORT_ACCESSORS(b, uint8_t)
PORT_ACCESSORS(w, uint16_t)
PORT_ACCESSORS(l, uint32_t)

#define REGISTER_ACCESSORS(reg) \
	static inline uint64_t read_##reg(void) \
	{ \
		uint64_t value; \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(value) : : "memory"); \
		return value; \
	} \
	static inline void write_##reg(uint64_t value) \
	{ \
		__asm__ volatile("mov %0, %%" #reg : : "r"(value) : "memory"); \
	}

REGISTER_ACCESSORS(cr0)
REGISTER_ACCESSORS(cr2)
REGISTER_ACCESSORS(cr3)
REGISTER_ACCESSORS(cr4)
REGISTER_ACCESSORS(cr8)
REGISTER_ACCESSORS(dr0)
REGISTER_ACCESSORS(dr1)
REGISTER_ACCESSORS(dr2)
REGISTER_ACCESSORS(dr3)
REGISTER_ACCESSORS(dr6)
REGISTER_ACCESSORS(dr7)

static inline void irq_enable(void)
{
	__asm__ volatile("sti; nop" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline uint64_t read_rflags(void)
{
	uint64_t value;

	__asm__ volatile("pushfq; pop %0" : "=r"(value) : : "memory");
	return value;
}

static inline void invlpg(const volatile void *address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline void cpu_pause(void)
{
	__builtin_ia32_pause();
}

/* True under Lamina, by the signature of CPUID leaf 0x40000000; false on the bare (emulated) machine. */
bool under_lamina(void);
/* Whether the CPU is AMD's. QEMU, which runs Lamina on such a CPU by emulation, has faults that a test must leave alone. */
bool cpu_is_amd(void);

#endif
