; The world switch (SDM vol. 3, "VM Entries", "VM Exits"). Guest state other than RSP, RIP and RFLAGS never meets a host register that
; is still needed: at the exit the only thing known is RSP, which the VMCS set.

%include "arch/x86_64/guest_registers.inc"

bits 64
extern vmx_handle_exit
global vmx_enter
global vmx_exit_point
global vmx_unblock_nmi

section .text

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
	mov eax, VMCS_HOST_RSP
	vmwrite rax, rsp
	test sil, sil
	mov rax, [rdi + VCPU_RAX]
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
	mov [rdi + VCPU_RAX], rax
	SAVE_GUEST rdi
	pop qword [rdi + VCPU_RDI]
	xor ebp, ebp                    ; backtraces end here
	call vmx_handle_exit
	mov rdi, [rsp]
	test al, al
	jz .done
	mov rax, [rdi + VCPU_RAX]
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
	push GDT_DATA
	push rax
	pushfq
	push GDT_CODE
	lea rcx, [rel .back]
	push rcx
	iretq
.back:
	ret
