/* What a hostile guest does to a device: each port or register, each size, any value, while time goes on. */
#ifndef TESTS_UNIT_HOSTILE_IO_H
#define TESTS_UNIT_HOSTILE_IO_H

#include "tests/unit/fakes.h"
#include "vmm/io/io_space.h"

static inline uint32_t hostile_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* `rounds` random accesses to [base, base+size), time moving by up to `step` ticks after each; `after`, where not NULL, runs then. */
static inline void hostile_io(struct io_space *space, uint64_t base, unsigned size, unsigned rounds, unsigned step,
			      void (*after)(void))
{
	uint32_t state = 0x2545f491;

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t addr = base + hostile_random(&state) % size;
		/* Mostly bytes, which these devices decode. */
		unsigned choice = hostile_random(&state) % 8;
		unsigned width = choice < 3 ? 2U << choice : 1;
		uint64_t value = (uint64_t)hostile_random(&state) << 32 | hostile_random(&state);

		if (hostile_random(&state) % 3)
			io_space_write(space, addr, width, value);
		else
			io_space_read(space, addr, width);
		if (step)
			fake_advance_to(fake.now + hostile_random(&state) % step);
		fake.console_len = 0;
		fake.console_full = hostile_random(&state) % 4 == 0;
		if (after)
			after();
	}
}

#endif
