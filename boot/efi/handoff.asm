; From the firmware's long mode to the kernel's entry as a Multiboot2 loader would make it: 32-bit protected mode, no paging, flat
; segments, interrupts off (handoff.h). The code between handoff_start and handoff_end runs at any address below 4 GiB.

%include "asm_offsets.inc"

global handoff_run:function hidden
global handoff_start:data hidden
global handoff_data:data hidden
global handoff_end:data hidden

default rel
section .text
bits 64
; RDI = physical address of the copy
handoff_run:
	jmp rdi

section .rodata
align 16
bits 64
handoff_start:
	cli
	cld
	mov rax, cr4
	and eax, ~(CR4_CET | CR4_PCIDE) ; the far return below is no part of any shadow stack
	mov cr4, rax
	mov ebx, edi
	lea rax, [gdt]
	mov [gdt_pointer + 2], rax
	lgdt [gdt_pointer]
	lea rsp, [stack_top]
	lea rax, [protected]
	push GDT_CODE
	push rax
	retfq

bits 32
; EBX = address of handoff_start
protected:
	mov eax, GDT_DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	mov ecx, MSR_EFER
	rdmsr
	and eax, ~EFER_LME
	wrmsr
	xor eax, eax
	mov cr4, eax
	mov cr3, eax

	lea edx, [ebx + handoff_data - handoff_start]
	lea ebp, [edx + HANDOFF_SEGMENT]
.segment:
	dec dword [edx + HANDOFF_COUNT]
	js .enter
	mov edi, [ebp + SEGMENT_TO]
	mov esi, [ebp + SEGMENT_FROM]
	mov ecx, [ebp + SEGMENT_COPY]
	rep movsb
	mov ecx, [ebp + SEGMENT_ZERO]
	xor eax, eax
	rep stosb
	add ebp, SEGMENT_SIZE
	jmp .segment
.enter:
	mov eax, [edx + HANDOFF_MAGIC]
	mov ebx, [edx + HANDOFF_INFO]
	jmp [edx + HANDOFF_ENTRY]

align 8
gdt:
	dq 0
	dq DESCRIPTOR_CODE_32           ; GDT_CODE
	dq DESCRIPTOR_DATA_32           ; GDT_DATA
gdt_pointer:
	dw $ - gdt - 1
	dq 0
align 16
handoff_data:
	times HANDOFF_SIZE db 0
align 16
	times 64 db 0
stack_top:
handoff_end:
