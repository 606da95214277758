; The world switch (SDM vol. 3, "VM Entries", "VM Exits"). Guest state other than RSP, RIP and RFLAGS never meets a host register that
; is still needed: at the exit the only thing known is RSP, which the VMCS set.

%include "asm_offsets.inc"

bits 64
extern vmx_handle_exit
global vmx_enter
global vmx_exit_point
global vmx_unblock_nmi

%define GPR(n) VCPU_GPR + 8 * (n)
HOST_RSP_FIELD equ 0x6c14

section .text

%macro LOAD_GUEST 0 ; rdi = struct vcpu
	mov rax, [rdi + GPR(0)]
	mov rcx, [rdi + GPR(1)]
	mov rdx, [rdi + GPR(2)]
	mov rbx, [rdi + GPR(3)]
	mov rbp, [rdi + GPR(5)]
	mov rsi, [rdi + GPR(6)]
	mov r8, [rdi + GPR(8)]
	mov r9, [rdi + GPR(9)]
	mov r10, [rdi + GPR(10)]
	mov r11, [rdi + GPR(11)]
	mov r12, [rdi + GPR(12)]
	mov r13, [rdi + GPR(13)]
	mov r14, [rdi + GPR(14)]
	mov r15, [rdi + GPR(15)]
	mov rdi, [rdi + GPR(7)]
%endmacro

; bool vmx_enter(struct vcpu *v, bool launched): run the guest until vmx_handle_exit returns false. Returns false where VMLAUNCH or
; VMRESUME itself failed (VMfail).
align 16
vmx_enter:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	push rdi                        ; [rsp] = v at every exit; the stack is aligned for calls
	mov eax, HOST_RSP_FIELD
	vmwrite rax, rsp
	test sil, sil
	LOAD_GUEST                      ; MOV leaves the flags alone
	jz .launch
	vmresume
	jmp .failed
.launch:
	vmlaunch
.failed:
	xor eax, eax
	jmp .leave

align 16
vmx_exit_point:
	push rdi
	mov rdi, [rsp + 8]
	mov [rdi + GPR(0)], rax
	mov [rdi + GPR(1)], rcx
	mov [rdi + GPR(2)], rdx
	mov [rdi + GPR(3)], rbx
	mov [rdi + GPR(5)], rbp
	mov [rdi + GPR(6)], rsi
	mov [rdi + GPR(8)], r8
	mov [rdi + GPR(9)], r9
	mov [rdi + GPR(10)], r10
	mov [rdi + GPR(11)], r11
	mov [rdi + GPR(12)], r12
	mov [rdi + GPR(13)], r13
	mov [rdi + GPR(14)], r14
	mov [rdi + GPR(15)], r15
	pop qword [rdi + GPR(7)]
	xor ebp, ebp                    ; backtraces end here
	call vmx_handle_exit
	mov rdi, [rsp]
	test al, al
	jz .done
	LOAD_GUEST
	vmresume
	jmp vmx_enter.failed
.done:
	mov eax, 1
	jmp vmx_enter.leave

vmx_enter.leave:
	pop rdi
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; void vmx_unblock_nmi(void): an NMI that caused an exit leaves NMIs blocked until the next IRET.
align 16
vmx_unblock_nmi:
	mov rax, rsp
	push 0x10
	push rax
	pushfq
	push 0x08
	lea rcx, [rel .back]
	push rcx
	iretq
.back:
	ret
