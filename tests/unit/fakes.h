/* Fakes of vmm/interface/platform.h and lib/log.h that record what a device asked for. Reset them in each test's setup. */
#ifndef TESTS_UNIT_FAKES_H
#define TESTS_UNIT_FAKES_H

#include "vmm/interface/platform.h"

#define FAKE_LOG_SIZE 65536
#define FAKE_MAX 256

struct fake_platform {
	bool irq[24];             /* present level of each GSI */
	unsigned irq_rises[24];   /* how often it went from low to high */
	bool pic_output;
	unsigned msi_count;       /* all MSIs; the last FAKE_MAX are kept, index modulo FAKE_MAX */
	struct { uint64_t address; uint32_t data; } msi[FAKE_MAX];
	unsigned message_count;   /* likewise */
	struct apic_message message[FAKE_MAX];
	unsigned eoi_count;       /* vm_ioapic_eoi, likewise */
	uint8_t eoi[FAKE_MAX];
	unsigned kicks[64];       /* vm_cpu_kick, by vCPU */
	unsigned event_count;     /* vm_cpu_event; the last FAKE_MAX are kept */
	struct { unsigned cpu; enum cpu_event event; uint8_t vector; } event[FAKE_MAX];
	uint64_t now;             /* what time_now() gives */
	uint64_t hz;              /* what time_hz() gives; 1 GHz after a reset */
	struct vtimer *timers;    /* armed or once armed */
	unsigned request_count;
	enum vm_request request;  /* the last one */
	const char *request_why;
	uint64_t memory_written;  /* bytes, by vm_memory_written */
	bool console_full;
	unsigned console_len;
	uint8_t console[4096];
	unsigned log_len;
	char log[FAKE_LOG_SIZE];  /* all log lines, NUL-terminated */
};

extern struct fake_platform fake;

void fake_reset(void);
/* Move time forward to `now`, firing timers in order of deadline, with time_now() equal to each deadline as it fires. */
void fake_advance_to(uint64_t now);

#endif
