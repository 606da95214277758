/* The vectors of the exceptions, and which of the exceptions push an error code (SDM vol. 3, "Exception and Interrupt Reference"). */
#ifndef LIB_X86_VECTORS_H
#define LIB_X86_VECTORS_H

#include "lib/types.h"

enum exception_vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_OF = 4,
	VECTOR_BR = 5,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MF = 16,
	VECTOR_AC = 17,
	VECTOR_MC = 18,
	VECTOR_XM = 19,
	VECTOR_CP = 21,
	VECTOR_VC = 29, /* AMD */
	VECTOR_SX = 30, /* AMD */
};

/* The exceptions that push an error code: of both vendors' CPUs, and AMD's own, which no guest is given. */
#define VECTORS_WITH_ERROR_CODE (BIT(VECTOR_DF) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP) | BIT(VECTOR_PF) | \
				 BIT(VECTOR_AC) | BIT(VECTOR_CP))
#define VECTORS_WITH_ERROR_CODE_AMD (BIT(VECTOR_VC) | BIT(VECTOR_SX))

/* Whether the exception pushes an error code. */
static inline bool vector_has_error_code(uint8_t vector)
{
	return vector < 32 && (VECTORS_WITH_ERROR_CODE >> vector & 1);
}

#endif
