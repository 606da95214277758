; From the firmware's long mode to the kernel's entry as a Multiboot2 loader would make it: 32-bit protected mode, no paging, flat
; segments, interrupts off (handoff.h). The code between handoff_start and handoff_end runs at any address below 4 GiB.

CR4_PCIDE equ 1 << 17
CR4_CET equ 1 << 23
CR0_PG equ 1 << 31
EFER equ 0xc0000080
EFER_LME equ 1 << 8

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
	push 0x08
	push rax
	retfq

bits 32
; EBX = address of handoff_start
protected:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	mov ecx, EFER
	rdmsr
	and eax, ~EFER_LME
	wrmsr
	xor eax, eax
	mov cr4, eax
	mov cr3, eax

	lea edx, [ebx + handoff_data - handoff_start]
	lea ebp, [edx + 16]
.segment:
	dec dword [edx + 12]
	js .enter
	mov edi, [ebp]
	mov esi, [ebp + 4]
	mov ecx, [ebp + 8]
	rep movsb
	mov ecx, [ebp + 12]
	xor eax, eax
	rep stosb
	add ebp, 16
	jmp .segment
.enter:
	mov eax, [edx + 4]
	mov ebx, [edx + 8]
	jmp [edx]

align 8
gdt:
	dq 0
	dq 0x00cf9b000000ffff           ; 0x08: 32-bit code
	dq 0x00cf93000000ffff           ; 0x10: data
gdt_pointer:
	dw $ - gdt - 1
	dq 0
align 16
handoff_data:
	times 16 + 8 * 16 db 0
align 16
	times 64 db 0
stack_top:
handoff_end:
