/* What every fuzzer includes: the input, taken apart piece by piece, and a check that stops the fuzzer. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

/* The next `size` bytes (at most 8) as a little-endian number; zeroes follow the input's end. */
static inline uint64_t take(struct input *in, unsigned size)
{
	uint64_t value = 0;
	size_t n = size < in->left ? size : in->left;

	memcpy(&value, in->at, n);
	in->at += n;
	in->left -= n;
	return value;
}

/* A number below n (at most 2^16), of one byte where that is enough. */
static inline unsigned take_below(struct input *in, unsigned n)
{
	return (unsigned)take(in, n <= 256 ? 1 : 2) % n;
}

/* A number whose first byte says how many bytes follow: small ones, big ones, and ones next to a power of two. */
static inline uint64_t take_number(struct input *in)
{
	unsigned how = (unsigned)take(in, 1);

	if (how >= 0xc0)
		return (1ULL << (how & 63)) + (uint64_t)(int8_t)take(in, 1);
	return how < 0x80 ? how : take(in, 1 + (how & 7));
}

/* A copy of at most `max` bytes of the rest in a block of just that size, so that AddressSanitizer sees every access beside it. The
 * caller frees it. */
static inline uint8_t *take_block(struct input *in, size_t max, size_t *size)
{
	uint8_t *block;

	*size = max < in->left ? max : in->left;
	block = malloc(*size ? *size : 1);
	if (!block)
		abort();
	memcpy(block, in->at, *size);
	in->at += *size;
	in->left -= *size;
	return block;
}

/* What must hold whatever the input is. */
#define FUZZ_CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* The fixtures' assertions are cmocka's: outside of its tests they must abort. */
__attribute__((constructor)) static void fuzz_assertions_abort(void)
{
	setenv("CMOCKA_TEST_ABORT", "1", 1);
}

#endif
