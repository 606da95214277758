/* The exits of INS and OUTS: port I/O whose other operand is memory, which the emulator moves. */
#include "vmm/exits/exit_string_io.h"

#include "vmm/vcpu/vcpu_emulator.h"

enum verdict exit_string_io(struct vcpu *v, struct vm_exit *exit)
{
	const struct string_io io = {
		.port = exit->io.port,
		.size = exit->io.size,
		.in = exit->io.in,
		.rep = exit->io.rep,
		.address_size = exit->io.address_size,
		.segment = exit->io.segment,
		.length = (uint8_t)exit->length,
	};
	int result;

	vcpu_emulator_load(v);
	result = emulate_string_io(&v->emulator, &io, &v->emulated);
	exit->length = v->emulated.length;
	return vcpu_emulator_conclude(v, result, exit->io.port);
}
