; An entry for each of the 256 vectors: push what the CPU did not (an error code), the vector, the registers; call C; return.

%include "asm_offsets.inc"

bits 64
extern trap_handle
global trap_entries

section .text
%macro ENTRY 1
	align 16
	%if %1 < 32 && ((ERROR_CODE_VECTORS >> (%1)) & 1)
	nop
	nop
	%else
	push 0
	%endif
	push strict dword %1
	jmp strict near trap_common
%endmacro

align 16
trap_entries:
%assign vector 0
%rep 256
	ENTRY vector
%assign vector vector + 1
%endrep

; struct trap_frame, from its end.
%if TRAP_FRAME_VECTOR != 15 * 8
%error "struct trap_frame has other registers than are pushed here"
%endif
trap_common:
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	cld
	mov rdi, rsp
	call trap_handle
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rbp
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rbx
	pop rax
	add rsp, TRAP_FRAME_RIP - TRAP_FRAME_VECTOR
	iretq
