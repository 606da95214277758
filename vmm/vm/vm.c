/* A VM's life: reset, requests, end. Its construction is in vm_create.c. */
#include "vmm/vm/vm.h"

#include "drivers/console/console.h"
#include "lib/log.h"
#include "vmm/devices/acpi_tables.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vm/vm_create.h"

void vm_request(struct vm *vm, enum vm_request what, const char *why)
{
	bool counts;

	spin_lock(&vm->request_lock);
	/* The first request counts, unless a later one says that the guest cannot go on. */
	counts = !vm->requested || (what == VM_REQUEST_STOP && vm->request != VM_REQUEST_STOP);
	if (counts) {
		vm->requested = true;
		vm->request = what;
		vm->request_why = why;
	}
	spin_unlock(&vm->request_lock);
	if (!counts)
		return;
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_notify(vm->vcpu[i], PENDING_LEAVE);
}

int vm_start_guest(struct vm *vm)
{
	char error[LOADER_ERROR_SIZE];
	int err = acpi_tables_build(&vm->memory, vm->vcpu_count, &vm->files.rsdp);

	if (err) {
		log_line("vm %s: the ACPI tables do not fit: give it more memory", vm->config.name);
		return err;
	}
	err = loader_load(&vm->files, &vm->start, error);
	if (err) {
		log_line("vm %s: %s", vm->config.name, error);
		return err;
	}
	msr_reset(&vm->msr, vm->cpuid.extended[8][CPUID_EAX] & 0xff);
	vm->tsc_offset = -(int64_t)time_now();
	/* Everybody is parked: what was left for the old life is dropped. The boot processor comes last, so that its IPIs find the
	 * others' local APICs enabled. */
	for (unsigned i = vm->vcpu_count; i-- > 0;) {
		struct vcpu *v = vm->vcpu[i];

		lapic_reset(&v->lapic, i == 0);
		__atomic_store_n(&v->pending, PENDING_RESET, __ATOMIC_SEQ_CST);
		sched_wake(v->slot);
	}
	return 0;
}

void vm_poll_disks(struct vm *vm)
{
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_collect(vm->real_disk[i]);
}

/* No disk reads or writes the VM's memory afterwards. */
static void quiet_disks(struct vm *vm)
{
	/* Nothing more is taken from the rings; what is under way comes to its end. */
	for (unsigned i = 0; i < vm->disk_count; i++)
		virtio_blk_reset(vm->disk[i]);
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_drain(vm->real_disk[i]);
}

static void reset_devices(struct vm *vm)
{
	quiet_disks(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		timer_queue_clear(&vm->vcpu[i]->timers);
	pic_reset(&vm->pic);
	ioapic_reset(&vm->ioapic);
	pit_reset(&vm->pit);
	rtc_reset(&vm->rtc);
	acpi_pm_reset(&vm->acpi_pm);
	uart_reset(&vm->uart);
	virtual_mmu_reset(vm);
	i8042_reset(&vm->i8042);
	reset_ports_reset(&vm->reset_ports);
	pci_reset(&vm->pci);
}

void vm_print_statistics(struct vm *vm)
{
	uint64_t emulated = 0;

	for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
		uint64_t count = 0, ticks = 0;

		for (unsigned i = 0; i < vm->vcpu_count; i++) {
			count += vm->vcpu[i]->exit_count[kind];
			ticks += vm->vcpu[i]->exit_ticks[kind];
		}
		if (count)
			log_line("vm %s: exit %-26s count %-9lu ticks %lu", vm->config.name, vm_exit_name(kind), count, ticks);
	}
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		emulated += vm->vcpu[i]->emulated_instructions;
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_print_statistics(vm->real_disk[i]);
	if (emulated)
		log_line("vm %s: %lu instructions emulated in real mode", vm->config.name, emulated);
}

static void end(struct vm *vm, const char *verb)
{
	quiet_disks(vm);
	log_line("vm %s: %s (%s)", vm->config.name, verb, vm->request_why);
	vm_print_statistics(vm);
	if (sched_vm_ended(vm->handle) == 0)
		core_power_off();
}

static void reset(struct vm *vm)
{
	log_line("vm %s: reset by the guest (%s)", vm->config.name, vm->request_why);
	vm->resets++;
	reset_devices(vm);
	vm->parked = 0;
	spin_lock(&vm->request_lock);
	vm->requested = false;
	spin_unlock(&vm->request_lock);
	if (vm_start_guest(vm))
		vm_request(vm, VM_REQUEST_STOP, "it could not be loaded again");
}

void vm_vcpu_parked(struct vm *vm, unsigned index)
{
	uint64_t all = UINT64_MAX >> (64 - vm->vcpu_count);
	uint64_t before = __atomic_fetch_or(&vm->parked, BIT(index), __ATOMIC_SEQ_CST);

	if (before & BIT(index) || (before | BIT(index)) != all)
		return;
	switch (vm->request) {
	case VM_REQUEST_RESET:
		reset(vm);
		break;
	case VM_REQUEST_POWER_OFF:
		end(vm, "powered off by the guest");
		break;
	case VM_REQUEST_STOP:
		quiet_disks(vm);
		/* Lamina stays up, so that its log can be read and its other guests go on. */
		log_line("vm %s: stopped: %s", vm->config.name, vm->request_why);
		vm_print_statistics(vm);
		sched_vm_ended(vm->handle);
		break;
	}
}

/* ---- What devices ask of the VM: vmm/interface/platform.h ---- */

void vm_irq_set(struct vm *vm, unsigned gsi, bool level)
{
	spin_lock(&vm->irq_lock);
	if (gsi < 16)
		pic_set_irq(&vm->pic, gsi, level);
	ioapic_set_irq(&vm->ioapic, gsi == 0 ? 2 : gsi, level); /* the MADT's override of IRQ 0 */
	spin_unlock(&vm->irq_lock);
}

void vm_msi_send(struct vm *vm, uint64_t address, uint32_t data)
{
	const struct apic_message msg = {
		.destination = address >> 12 & 0xff,
		.vector = (uint8_t)data,
		.delivery_mode = data >> 8 & 7,
		.logical = address & BIT(2),
		.level = data & BIT(15),
		.assert = true,
	};

	/* Only the local APICs' window is an interrupt; other writes of a device's are to memory that is not there. */
	if (address >> 20 == 0xfee)
		vm_apic_message(vm, &msg);
}

void vm_apic_message(struct vm *vm, const struct apic_message *msg)
{
	lapic_route(vm->lapics.lapic, vm->lapics.count, msg, NULL);
}

void vm_pic_output(struct vm *vm, bool level)
{
	__atomic_store_n(&vm->pic_output, level, __ATOMIC_RELAXED);
	if (level)
		vcpu_notify(vm->vcpu[0], PENDING_EVALUATE);
}

void vm_ioapic_eoi(struct vm *vm, uint8_t vector)
{
	spin_lock(&vm->irq_lock);
	ioapic_eoi(&vm->ioapic, vector);
	spin_unlock(&vm->irq_lock);
}

void vm_cpu_event(struct vm *vm, unsigned cpu, enum cpu_event event, uint8_t vector)
{
	struct vcpu *v = vm->vcpu[cpu];

	switch (event) {
	case CPU_EVENT_NMI:
		vcpu_notify(v, PENDING_NMI);
		break;
	case CPU_EVENT_INIT:
		vcpu_notify(v, PENDING_INIT);
		break;
	case CPU_EVENT_SIPI:
		v->sipi_vector = vector;
		vcpu_notify(v, PENDING_SIPI);
		break;
	case CPU_EVENT_EXTINT:
		vcpu_notify(v, PENDING_EVALUATE);
		break;
	}
}

void vm_cpu_kick(struct vm *vm, unsigned cpu)
{
	vcpu_notify(vm->vcpu[cpu], PENDING_POSTED);
}

bool vm_guest_waits(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpu[i]->state == VCPU_RUNNING)
			return false;
	return true;
}

bool vm_console_put(struct vm *vm, uint8_t byte)
{
	bool room = console_put_guest(byte, time_now());

	(void)vm;
	core_timer_by(console_due[core_index() != 0]);
	return room;
}

void vm_console_input(struct vm *vm)
{
	uint8_t byte;

	while (uart_can_receive(&vm->uart) && sched_input_take(vm->handle, &byte))
		uart_receive(&vm->uart, byte);
	/* The UART is full: offer the rest when the guest has had time to read. */
	if (sched_input_waiting(vm->handle))
		vtimer_set(&vm->input_timer, time_now() + time_hz() / 2000);
}
