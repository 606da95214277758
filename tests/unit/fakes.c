#include "tests/unit/fakes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

struct fake_platform fake;

/* The VM's side of platform.h gives way to the real one, where a test links it (vmm/vm/vm.c, vmm/vm/platform.c). */
#pragma weak vm_irq_set
#pragma weak vm_msi_send
#pragma weak vm_apic_message
#pragma weak vm_pic_output
#pragma weak vm_ioapic_eoi
#pragma weak vm_cpu_event
#pragma weak vm_cpu_kick
#pragma weak vm_console_put
#pragma weak vm_request

void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.hz = 1000000000;
}

__attribute__((weak)) void vm_memory_written(struct vm *vm, const void *p, uint64_t len)
{
	(void)vm;
	(void)p;
	fake.memory_written += len;
}

void vm_irq_set(struct vm *vm, unsigned gsi, bool level)
{
	(void)vm;
	if (gsi >= 24)
		abort();
	if (level && !fake.irq[gsi])
		fake.irq_rises[gsi]++;
	fake.irq[gsi] = level;
}

void vm_msi_send(struct vm *vm, uint64_t address, uint32_t data)
{
	(void)vm;
	fake.msi[fake.msi_count % FAKE_MAX].address = address;
	fake.msi[fake.msi_count % FAKE_MAX].data = data;
	fake.msi_count++;
}

void vm_apic_message(struct vm *vm, const struct apic_message *msg)
{
	(void)vm;
	fake.message[fake.message_count++ % FAKE_MAX] = *msg;
}

void vm_pic_output(struct vm *vm, bool level)
{
	(void)vm;
	fake.pic_output = level;
}

void vm_ioapic_eoi(struct vm *vm, uint8_t vector)
{
	(void)vm;
	fake.eoi[fake.eoi_count++ % FAKE_MAX] = vector;
}

void vm_cpu_event(struct vm *vm, unsigned cpu, enum cpu_event event, uint8_t vector)
{
	unsigned i = fake.event_count++ % FAKE_MAX;

	(void)vm;
	fake.event[i].cpu = cpu;
	fake.event[i].event = event;
	fake.event[i].vector = vector;
}

void vm_cpu_kick(struct vm *vm, unsigned cpu)
{
	(void)vm;
	if (cpu >= 64)
		abort();
	fake.kicks[cpu]++;
}

uint64_t time_now(void)
{
	return fake.now;
}

uint64_t time_hz(void)
{
	return fake.hz;
}

/* The next two give way to the real ones, where a test has them. */
__attribute__((weak)) void vtimer_init(struct vtimer *t, struct vm *vm, unsigned cpu, void (*fire)(void *ctx), void *ctx)
{
	(void)vm;
	(void)cpu;
	*t = (struct vtimer){ .deadline = TIME_NEVER, .fire = fire, .ctx = ctx };
}

__attribute__((weak)) void vtimer_set(struct vtimer *t, uint64_t deadline)
{
	struct vtimer *each;

	t->deadline = deadline;
	for (each = fake.timers; each; each = each->next)
		if (each == t)
			return;
	t->next = fake.timers;
	fake.timers = t;
}

void fake_advance_to(uint64_t now)
{
	for (;;) {
		struct vtimer *first = NULL;

		for (struct vtimer *t = fake.timers; t; t = t->next)
			if (t->deadline <= now && t->deadline != TIME_NEVER && (!first || t->deadline < first->deadline))
				first = t;
		if (!first)
			break;
		if (fake.now < first->deadline)
			fake.now = first->deadline;
		first->deadline = TIME_NEVER;
		first->fire(first->ctx);
	}
	fake.now = now;
}

bool vm_console_put(struct vm *vm, uint8_t byte)
{
	(void)vm;
	if (fake.console_full || fake.console_len == sizeof(fake.console))
		return false;
	fake.console[fake.console_len++] = byte;
	return true;
}

void vm_request(struct vm *vm, enum vm_request what, const char *why)
{
	(void)vm;
	fake.request = what;
	fake.request_why = why;
	fake.request_count++;
}

void log_line(const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(fake.log + fake.log_len, FAKE_LOG_SIZE - fake.log_len - 1, fmt, args);
	va_end(args);
	if (n > 0 && fake.log_len + (unsigned)n < FAKE_LOG_SIZE - 2) {
		fake.log_len += (unsigned)n;
		fake.log[fake.log_len++] = '\n';
		fake.log[fake.log_len] = 0;
	}
}

void panic(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	abort();
}
