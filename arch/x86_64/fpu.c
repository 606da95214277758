/* The FPU's state is saved and restored with XSAVE where the CPU has it, else with FXSAVE. */
#include "arch/x86_64/fpu.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "lib/string.h"

#define FXSAVE_SIZE 512
#define FCW_RESET 0x40
#define MXCSR_RESET 0x1f80

uint32_t fpu_area_size(void)
{
	return cpu_features.xsave ? MAX(cpu_features.xsave_size, 576U) : FXSAVE_SIZE;
}

void fpu_area_init(void *area)
{
	memset(area, 0, fpu_area_size());
	*(uint16_t *)area = FCW_RESET;
	*(uint32_t *)((uint8_t *)area + 24) = MXCSR_RESET;
}

void fpu_save(void *area)
{
	if (!cpu_features.xsave) {
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
		return;
	}
	xsetbv(0, cpu_features.xcr0);
	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
}

void fpu_restore(const void *area, uint64_t guest_xcr0)
{
	if (!cpu_features.xsave) {
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
		return;
	}
	xsetbv(0, cpu_features.xcr0);
	__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
	xsetbv(0, guest_xcr0);
}
