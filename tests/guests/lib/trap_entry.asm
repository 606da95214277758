; The 256 interrupt and exception entries, and the ways in and out of guarded code. SDM vol. 3, chapter 6.

global trap_entries, guarded_call, guarded_abort, run_user
extern trap, fault_resume, fault_rsp, fault_rflags, guard_rsp

section .text
bits 64

%assign vector 0
%rep 256
align 16
entry_%[vector]:
%if vector != 8 && !(vector >= 10 && vector <= 14) && vector != 17 && vector != 21
	push qword 0
%endif
	push qword vector
	jmp save_and_call
%assign vector vector + 1
%endrep

save_and_call:
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
	mov rbp, rsp
	and rsp, -16
	call trap
	mov rsp, rbp
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
	add rsp, 16
	iretq

; int guarded_call(void (*fn)(void)): 0, or 1 when an exception that nobody expected ended it.
guarded_call:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [guard_rsp], rsp
	sub rsp, 8
	call rdi
	add rsp, 8
	xor eax, eax
guarded_out:
	mov qword [guard_rsp], 0
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret
guarded_abort:
	mov eax, 1
	jmp guarded_out

; void run_user(void *code, uint64_t selector, uint64_t rflags, void *stack, uint64_t argument):
; runs code in user mode (argument in RDI) until an exception or INT 0x80 ends it; `fault` tells which.
run_user:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	pushfq
	pop qword [fault_rflags]
	mov qword [fault_resume], .back
	mov [fault_rsp], rsp
	push qword 0x23
	push rcx
	push rdx
	push rsi
	push rdi
	mov rdi, r8
	iretq
.back:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

section .rodata
trap_entries:
%assign vector 0
%rep 256
	dq entry_%[vector]
%assign vector vector + 1
%endrep
