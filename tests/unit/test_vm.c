/* SOURCES: vmm/vm/vm.c vmm/vm/platform.c vmm/vm/vm_devices.c */
/* A VM's life: requests, what the last vCPU to park carries out, in which order things are reset; and what devices ask of the VM. The test
 * plays the devices, the vCPUs' cores and the loader, and writes down who is called. */
#include "tests/unit/unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "drivers/console/console.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/acpi_tables.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/console_router.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm_parts.h"
#include "vmm/vm/vm_services.h"
#include "vmm/vm/vm_vcpu.h"

static struct vm vm;
static struct vcpu vcpu[VM_MAX_VCPUS];
static struct sched_slot slot[VM_MAX_VCPUS];
static struct vm_handle handle;
static char trace[4096];
static jmp_buf powered_off;
static unsigned notices[VM_MAX_VCPUS];
static uint32_t noticed[VM_MAX_VCPUS];
static unsigned others_running;
static int loader_result, pit_result;

static void note(const char *fmt, ...)
{
	size_t used = strlen(trace);
	va_list args;

	va_start(args, fmt);
	vsnprintf(trace + used, sizeof(trace) - used, fmt, args);
	va_end(args);
}

/* ---- The vCPUs and their cores ---- */

void vcpu_post_nmi(struct vcpu *v) { vcpu_notify(v, PENDING_NMI); }

void vcpu_notify(struct vcpu *v, uint32_t bits)
{
	notices[v->index]++;
	noticed[v->index] |= bits;
}

void vcpu_restart(struct vcpu *v)
{
	note(" restart%u", v->index);
}

unsigned registry_end(struct vm_handle *of)
{
	assert_ptr_equal(of, &handle);
	note(" ended");
	return others_running;
}

void core_power_off(void)
{
	note(" power-off");
	longjmp(powered_off, 1);
}

unsigned core_index(void) { return 0; }
void core_timer_by(uint64_t deadline) { note(" timer-by-%lu", deadline); }
void timer_queue_clear(struct timer_queue *queue) { note(" timers%u", (unsigned)(((uint8_t *)queue - (uint8_t *)vcpu) / sizeof(vcpu[0]))); }
void lapic_reset(struct lapic *l, bool bsp) { (void)l; note(bsp ? " boot-lapic" : " lapic"); }
void msr_reset(struct msr_state *state, unsigned phys_bits) { assert_ptr_equal(state, &vm.msr); note(" msr%u", phys_bits); }
void virtual_mmu_reset(struct vm *of) { (void)of; note(" mmu"); }
const char *vm_exit_name(enum vm_exit_kind kind) { return kind == EXIT_CPUID ? "CPUID" : kind == EXIT_HLT ? "HLT" : "other"; }

/* ---- What it is loaded from, and its disks ---- */

int acpi_tables_build(const struct guest_memory *mem, unsigned vcpus, uint64_t *rsdp)
{
	(void)mem;
	note(" acpi%u", vcpus);
	*rsdp = 0xe0000;
	return 0;
}

int loader_load(const struct loader_input *in, struct guest_start *start, char error[LOADER_ERROR_SIZE])
{
	(void)start;
	assert_int_equal(in->rsdp, 0xe0000);
	note(" load");
	snprintf(error, LOADER_ERROR_SIZE, "the kernel is gone");
	return loader_result;
}

void vm_disks_quiet(struct vm *of) { (void)of; note(" disks"); }
void vm_disks_print_statistics(const struct vm *of) { (void)of; note(" disk-statistics"); }

/* ---- The devices ---- */

static unsigned pic_line, ioapic_line; /* the last one driven, and its level */
static bool pic_level, ioapic_level;
static unsigned pic_calls, ioapic_calls;

void pic_set_irq(struct pic *pic, unsigned irq, bool level)
{
	assert_ptr_equal(pic, &vm.pic);
	assert_true(vm.irq_lock.held);
	pic_line = irq;
	pic_level = level;
	pic_calls++;
}

int pic_acknowledge(struct pic *pic)
{
	assert_ptr_equal(pic, &vm.pic);
	assert_true(vm.irq_lock.held);
	return 0x2c;
}

void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level)
{
	assert_ptr_equal(ioapic, &vm.ioapic);
	assert_true(vm.irq_lock.held);
	ioapic_line = pin;
	ioapic_level = level;
	ioapic_calls++;
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
	assert_ptr_equal(ioapic, &vm.ioapic);
	assert_true(vm.irq_lock.held);
	note(" eoi%u", vector);
}

static struct apic_message routed;
static unsigned routes;

void lapic_route(struct lapic *const *lapics, unsigned count, const struct apic_message *msg, const struct lapic *sender)
{
	assert_ptr_equal(lapics, vm.lapics.lapic);
	assert_int_equal(count, vm.lapics.count);
	assert_null(sender);
	routed = *msg;
	routes++;
}

static unsigned uart_room, input_left;
bool uart_can_receive(const struct uart *uart) { (void)uart; return uart_room > 0; }
bool uart_receive(struct uart *uart, uint8_t byte) { (void)uart; uart_room--; note(" '%c'", byte); return true; }
bool console_input_waiting(const struct vm_handle *of) { assert_ptr_equal(of, &handle); return input_left > 0; }
bool console_input_take(struct vm_handle *of, uint8_t *byte)
{
	assert_ptr_equal(of, &handle);
	*byte = (uint8_t)('0' + input_left);
	return input_left && input_left--;
}

uint64_t console_due[2] = { 77, 88 };
bool console_put_guest(uint8_t byte, uint64_t now) { (void)now; note(" put-%c", byte); return byte != 'x'; }

#define RESETS(name) void name##_reset(struct name *device) { assert_ptr_equal(device, &vm.name); note(" " #name); }
RESETS(pic)
RESETS(ioapic)
RESETS(pit)
RESETS(rtc)
RESETS(acpi_pm)
RESETS(uart)
RESETS(i8042)
RESETS(reset_ports)
RESETS(pci)

int pic_init(struct pic *d, struct vm *of, struct io_space *pio, struct spinlock *lock)
{
	assert_true(d == &vm.pic && of == &vm && pio == &vm.pio && lock == &vm.irq_lock);
	note(" pic");
	return 0;
}

int ioapic_init(struct ioapic *d, struct vm *of, struct io_space *mmio, struct spinlock *lock)
{
	assert_true(d == &vm.ioapic && of == &vm && mmio == &vm.mmio && lock == &vm.irq_lock);
	note(" ioapic");
	return 0;
}

int rtc_init(struct rtc *d, struct vm *of, struct io_space *pio, uint64_t low, uint64_t high, uint64_t seconds)
{
	assert_true(d == &vm.rtc && of == &vm && pio == &vm.pio);
	note(" rtc(%lu,%lu,%lu)", low >> 20, high >> 20, seconds);
	return 0;
}

int uart_init(struct uart *d, struct vm *of, struct io_space *pio, uint16_t base, unsigned gsi)
{
	assert_true(d == &vm.uart && of == &vm && pio == &vm.pio);
	note(" uart(%x,%u)", base, gsi);
	return 0;
}

int pci_init(struct pci *d, struct vm *of, struct io_space *pio, struct io_space *mmio)
{
	assert_true(d == &vm.pci && of == &vm && pio == &vm.pio && mmio == &vm.mmio);
	memset(d, 0, sizeof(*d));
	note(" pci");
	return 0;
}

int pit_init(struct pit *d, struct vm *of, struct io_space *pio) { (void)d; (void)of; (void)pio; note(" pit"); return pit_result; }
int acpi_pm_init(struct acpi_pm *d, struct vm *of, struct io_space *pio) { (void)d; (void)of; (void)pio; note(" acpi_pm"); return 0; }
int i8042_init(struct i8042 *d, struct vm *of, struct io_space *pio) { (void)d; (void)of; (void)pio; note(" i8042"); return 0; }
int reset_ports_init(struct reset_ports *d, struct vm *of, struct io_space *pio) { (void)d; (void)of; (void)pio; note(" reset_ports"); return 0; }
uint8_t reset_cf9_read(void *ctx) { (void)ctx; return 0; }
void reset_cf9_write(void *ctx, uint8_t value) { (void)ctx; (void)value; }

static void build(unsigned vcpus)
{
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(vcpu, 0, sizeof(vcpu));
	memset(notices, 0, sizeof(notices));
	memset(noticed, 0, sizeof(noticed));
	trace[0] = 0;
	loader_result = pit_result = 0;
	others_running = 1;
	pic_calls = ioapic_calls = routes = 0;
	strcpy(vm.config.name, "a");
	vm.config.numvcpus = vm.vcpu_count = vcpus;
	vm.handle = &handle;
	vm.cpuid.extended[8][CPUID_EAX] = 0x3028;
	for (unsigned i = 0; i < vcpus; i++) {
		vcpu[i].index = i;
		vm_attach_vcpu(&vm, &vcpu[i]);
		vcpu[i].slot = &slot[i];
		vm.vcpu[i] = &vcpu[i];
	}
}

static int setup(void **state)
{
	(void)state;
	build(3);
	return 0;
}

static void expect_trace(const char *expected)
{
	assert_string_equal(trace, expected);
	trace[0] = 0;
}

/* ---- Requests ---- */

static void first_request_counts(void **state)
{
	(void)state;
	vm_request(&vm, VM_REQUEST_RESET, "port 0xcf9");
	vm_request(&vm, VM_REQUEST_POWER_OFF, "S5");
	assert_int_equal(vm.request, VM_REQUEST_RESET);
	assert_string_equal(vm.request_why, "port 0xcf9");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(notices[i], 1);
		assert_int_equal(noticed[i], PENDING_LEAVE);
	}
	assert_false(vm.request_lock.held);
}

static void stop_overrides(void **state)
{
	(void)state;
	vm_request(&vm, VM_REQUEST_POWER_OFF, "S5");
	vm_request(&vm, VM_REQUEST_STOP, "VM entry failed");
	vm_request(&vm, VM_REQUEST_STOP, "a second reason");
	vm_request(&vm, VM_REQUEST_RESET, "triple fault");
	assert_int_equal(vm.request, VM_REQUEST_STOP);
	assert_string_equal(vm.request_why, "VM entry failed");
	assert_int_equal(notices[0], 2);
}

/* ---- Parking ---- */

static void the_last_to_park_resets(void **state)
{
	(void)state;
	fake.now = 1000;
	vm_request(&vm, VM_REQUEST_RESET, "triple fault");
	vm_vcpu_parked(&vm, 2);
	vm_vcpu_parked(&vm, 0);
	vm_vcpu_parked(&vm, 2); /* woken meanwhile, and parked again */
	expect_trace("");
	vcpu[1].pending = PENDING_LEAVE | PENDING_NMI;
	vm_vcpu_parked(&vm, 1);
	/* Disks and timers are quiet before anything is reset; the boot processor is woken last. */
	expect_trace(" disks timers0 timers1 timers2 pic ioapic pit rtc acpi_pm uart i8042 reset_ports pci mmu acpi3 load msr40"
		     " lapic restart2 lapic restart1 boot-lapic restart0");
	assert_int_equal(vm.tsc_offset, -1000);
	assert_int_equal(vm.resets, 1);
	assert_int_equal(vm.parked, 0);
	assert_false(vm.requested);
	assert_non_null(strstr(fake.log, "vm a: reset by the guest (triple fault)\n"));
	/* The next life has requests of its own. */
	vm_request(&vm, VM_REQUEST_RESET, "port 0xcf9");
	vm_vcpu_parked(&vm, 0);
	vm_vcpu_parked(&vm, 1);
	expect_trace("");
	vm_vcpu_parked(&vm, 2);
	assert_int_equal(vm.resets, 2);
}

static void all_of_64(void **state)
{
	(void)state;
	build(64);
	vm_request(&vm, VM_REQUEST_STOP, "no more");
	for (unsigned i = 1; i < 64; i++)
		vm_vcpu_parked(&vm, i);
	expect_trace("");
	vm_vcpu_parked(&vm, 0);
	expect_trace(" disks disk-statistics ended");
}

static void what_cannot_be_loaded_again_stops(void **state)
{
	(void)state;
	build(1);
	loader_result = ERR_INVALID;
	vm_request(&vm, VM_REQUEST_RESET, "triple fault");
	vm_vcpu_parked(&vm, 0);
	assert_null(strstr(trace, "wake"));
	assert_true(vm.requested);
	assert_int_equal(vm.request, VM_REQUEST_STOP);
	assert_int_equal(notices[0], 2);
	assert_non_null(strstr(fake.log, "vm a: the kernel is gone\n"));
	trace[0] = 0;
	vm_vcpu_parked(&vm, 0);
	expect_trace(" disks disk-statistics ended");
	assert_non_null(strstr(fake.log, "vm a: stopped: it could not be loaded again\n"));
}

static void power_off(unsigned others)
{
	others_running = others;
	vm_request(&vm, VM_REQUEST_POWER_OFF, "ACPI S5");
	vm_vcpu_parked(&vm, 0);
	vm_vcpu_parked(&vm, 1);
	if (!setjmp(powered_off))
		vm_vcpu_parked(&vm, 2);
	assert_non_null(strstr(fake.log, "vm a: powered off by the guest (ACPI S5)\n"));
}

static void others_go_on(void **state)
{
	(void)state;
	power_off(1);
	expect_trace(" disks disk-statistics ended");
}

static void the_last_vm_powers_the_machine_off(void **state)
{
	(void)state;
	power_off(0);
	expect_trace(" disks disk-statistics ended power-off");
}

/* Lamina stays up, so that its log can be read. */
static void a_stopped_vm_powers_nothing_off(void **state)
{
	(void)state;
	others_running = 0;
	vm_request(&vm, VM_REQUEST_STOP, "VM entry failed");
	for (unsigned i = 0; i < 3; i++)
		vm_vcpu_parked(&vm, i);
	expect_trace(" disks disk-statistics ended");
	assert_non_null(strstr(fake.log, "vm a: stopped: VM entry failed\n"));
	vm_vcpu_parked(&vm, 1); /* woken by somebody, and parked again: it has ended once */
	expect_trace("");
}

static void statistics_are_of_all_vcpus(void **state)
{
	(void)state;
	vcpu[0].exit_count[EXIT_CPUID] = 5;
	vcpu[0].exit_ticks[EXIT_CPUID] = 100;
	vcpu[2].exit_count[EXIT_CPUID] = 2;
	vcpu[2].exit_ticks[EXIT_CPUID] = 30;
	vcpu[1].emulated_instructions = 7;
	vcpu[2].emulated_instructions = 4;
	power_off(1);
	assert_non_null(strstr(fake.log, "vm a: exit CPUID                      count 7         ticks 130\n"));
	assert_null(strstr(fake.log, "exit HLT"));
	assert_non_null(strstr(fake.log, "vm a: 11 instructions emulated in real mode\n"));
}

static void no_emulation_no_line(void **state)
{
	(void)state;
	power_off(1);
	assert_null(strstr(fake.log, "emulated"));
	assert_null(strstr(fake.log, "exit"));
}

/* ---- The list of devices ---- */

static const struct vm_resources resources = { .unix_seconds = 12 };

static void devices_are_made_in_order(void **state)
{
	(void)state;
	vm.config.memsize = 5000;
	assert_int_equal(vm_devices_make(&vm, &resources), 0);
	expect_trace(" pic ioapic pit rtc(3072,1928,12) acpi_pm uart(3f8,4) i8042 reset_ports pci");
	assert_true(vm.pci.cf9_read == reset_cf9_read && vm.pci.cf9_write == reset_cf9_write);
	assert_ptr_equal(vm.pci.cf9_ctx, &vm.reset_ports);
	assert_ptr_equal(vm.input_timer.ctx, &vm);
}

static void a_device_that_cannot_be_made_is_named(void **state)
{
	(void)state;
	pit_result = ERR_NOMEM;
	assert_int_equal(vm_devices_make(&vm, &resources), ERR_NOMEM);
	expect_trace(" pic ioapic pit");
	assert_string_equal(fake.log, "vm a: its timer (8254) cannot be made\n");
}

/* ---- What devices ask ---- */

static void isa_interrupts_reach_both(void **state)
{
	(void)state;
	for (unsigned gsi = 0; gsi < 16; gsi++) {
		vm_irq_set(&vm, gsi, true);
		assert_int_equal(pic_line, gsi);
		/* IRQ 0 is input 2, as the MADT says. */
		assert_int_equal(ioapic_line, gsi == 0 ? 2 : gsi);
		assert_true(pic_level && ioapic_level);
	}
	vm_irq_set(&vm, 9, false);
	assert_false(pic_level || ioapic_level);
	assert_int_equal(pic_calls, 17);
	assert_false(vm.irq_lock.held);
}

static void pci_interrupts_reach_the_ioapic_alone(void **state)
{
	(void)state;
	for (unsigned gsi = 16; gsi < 24; gsi++) {
		vm_irq_set(&vm, gsi, true);
		assert_int_equal(ioapic_line, gsi);
	}
	assert_int_equal(ioapic_calls, 8);
	assert_int_equal(pic_calls, 0);
}

static void msi_is_a_message(void **state)
{
	(void)state;
	vm_msi_send(&vm, 0xfee12004, 0x8541);
	assert_int_equal(routes, 1);
	assert_int_equal(routed.destination, 0x12);
	assert_int_equal(routed.vector, 0x41);
	assert_int_equal(routed.delivery_mode, 5);
	assert_true(routed.logical && routed.level && routed.assert);
	vm_msi_send(&vm, 0xfeeff000, 0xfe);
	assert_int_equal(routed.destination, 0xff);
	assert_int_equal(routed.delivery_mode, 0);
	assert_false(routed.logical || routed.level);
}

static void msi_elsewhere_is_none(void **state)
{
	static const uint64_t addresses[] = { 0, 0xfed00000, 0xfef00000, 0x1fee00000, 0xfee0000000000000 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
		vm_msi_send(&vm, addresses[i], 0x41);
	assert_int_equal(routes, 0);
}

static void pic_line_is_vcpu_0s(void **state)
{
	(void)state;
	assert_ptr_equal(vcpu[0].pic_line, &vm.pic_output);
	assert_null(vcpu[1].pic_line);
	vm_pic_output(&vm, true);
	assert_true(*vcpu[0].pic_line);
	assert_int_equal(noticed[0], PENDING_EVALUATE);
	vm_pic_output(&vm, false);
	assert_false(*vcpu[0].pic_line);
	assert_int_equal(notices[0], 1);
	assert_int_equal(notices[1], 0);
	assert_int_equal(vm_pic_acknowledge(&vm), 0x2c);
	assert_false(vm.irq_lock.held);
}

static void eoi_under_the_lock(void **state)
{
	(void)state;
	vm_ioapic_eoi(&vm, 0x61);
	expect_trace(" eoi97");
	assert_false(vm.irq_lock.held);
}

static void cpu_events(void **state)
{
	(void)state;
	vm_cpu_event(&vm, 1, CPU_EVENT_SIPI, 0x9a);
	assert_int_equal(vcpu[1].sipi_vector, 0x9a);
	assert_int_equal(noticed[1], PENDING_SIPI);
	vm_cpu_event(&vm, 1, CPU_EVENT_INIT, 0);
	vm_cpu_event(&vm, 1, CPU_EVENT_NMI, 0);
	vm_cpu_event(&vm, 1, CPU_EVENT_EXTINT, 0);
	assert_int_equal(noticed[1], PENDING_SIPI | PENDING_INIT | PENDING_NMI | PENDING_EVALUATE);
	vm_cpu_kick(&vm, 2);
	assert_int_equal(noticed[2], PENDING_POSTED);
	assert_int_equal(noticed[0], 0);
}

static void console_input_waits_for_room(void **state)
{
	(void)state;
	fake.now = 500;
	uart_room = 2;
	input_left = 3;
	vm_console_input(&vm);
	expect_trace(" '3' '2'");
	assert_int_equal(vm.input_timer.deadline, 500 + fake.hz / 2000);
	vm.input_timer.deadline = TIME_NEVER;
	uart_room = 9;
	vm_console_input(&vm);
	expect_trace(" '1'");
	assert_int_equal(vm.input_timer.deadline, TIME_NEVER);
}

static void console_output_says_when_it_is_full(void **state)
{
	(void)state;
	assert_true(vm_console_put(&vm, 'a'));
	assert_false(vm_console_put(&vm, 'x'));
	expect_trace(" put-a timer-by-77 put-x timer-by-77");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(first_request_counts), T(stop_overrides), T(the_last_to_park_resets), T(all_of_64), T(what_cannot_be_loaded_again_stops),
		T(others_go_on), T(the_last_vm_powers_the_machine_off), T(a_stopped_vm_powers_nothing_off), T(statistics_are_of_all_vcpus),
		T(no_emulation_no_line), T(devices_are_made_in_order), T(a_device_that_cannot_be_made_is_named), T(isa_interrupts_reach_both),
		T(pci_interrupts_reach_the_ioapic_alone), T(msi_is_a_message), T(msi_elsewhere_is_none), T(pic_line_is_vcpu_0s),
		T(eoi_under_the_lock), T(cpu_events), T(console_input_waits_for_room), T(console_output_says_when_it_is_full),
	};

	return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
