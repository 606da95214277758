/* Accesses to mapped device registers: each is one access of that width. In unit tests a model of the device answers. */
#ifndef DRIVERS_MMIO_H
#define DRIVERS_MMIO_H

#include "lib/types.h"

#ifdef LAMINA_HOST_TEST

uint8_t mmio_read8(const volatile void *at);
uint16_t mmio_read16(const volatile void *at);
uint32_t mmio_read32(const volatile void *at);
void mmio_write8(volatile void *at, uint8_t value);
void mmio_write16(volatile void *at, uint16_t value);
void mmio_write32(volatile void *at, uint32_t value);

#else

#define MMIO_ACCESS(bits)                                                         \
	static inline uint##bits##_t mmio_read##bits(const volatile void *at)     \
	{                                                                         \
		return *(const volatile uint##bits##_t *)at;                      \
	}                                                                         \
	/* Earlier writes to memory are done before the device is told. */ \
	static inline void mmio_write##bits(volatile void *at, uint##bits##_t value) \
	{                                                                         \
		__atomic_thread_fence(__ATOMIC_RELEASE);                          \
		*(volatile uint##bits##_t *)at = value;                           \
	}

MMIO_ACCESS(8)
MMIO_ACCESS(16)
MMIO_ACCESS(32)

#undef MMIO_ACCESS

#endif

/* Registers of 64 bits, by halves, as every device allows that offers them to 32-bit systems. */
static inline uint64_t mmio_read64(const volatile void *at)
{
	uint32_t low = mmio_read32(at);

	return (uint64_t)mmio_read32((const volatile uint8_t *)at + 4) << 32 | low;
}

static inline void mmio_write64(volatile void *at, uint64_t value)
{
	mmio_write32(at, (uint32_t)value);
	mmio_write32((volatile uint8_t *)at + 4, (uint32_t)(value >> 32));
}

#endif
