/* Machine time: the TSC, whose rate is measured at boot. */
#ifndef LIB_TIME_H
#define LIB_TIME_H

#include "lib/types.h"

#define TIME_NEVER UINT64_MAX

/* Machine time in ticks of the host's TSC; never goes back. */
uint64_t time_now(void);
/* Ticks a second; constant once Lamina has calibrated it. */
uint64_t time_hz(void);

#endif
