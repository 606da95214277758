; The world switch (APM vol. 2, "VMRUN Instruction", "#VMEXIT"). The CPU switches RAX, RSP, RIP, RFLAGS, control registers, CS, DS, ES, SS
; and the descriptor tables; VMLOAD and VMSAVE the rest of the segments and the system-call MSRs; this code the other registers.
;
; Host interrupts and NMIs are held back by GIF from before the guest's registers are loaded until Lamina's own TR and GS are back. RFLAGS.IF
; is 1 at VMRUN, because it says whether a host interrupt makes the guest exit (V_INTR_MASKING); it is 0 again before GIF opens: an
; interrupt that caused an exit is taken where the handler wants it.

%include "arch/x86_64/guest_registers.inc"

bits 64
extern svm_handle_exit
global svm_enter

section .text

; void svm_enter(struct vcpu *v, struct svm_vcpu *x, uint64_t vmcb_phys, uint64_t host_vmcb): run the guest until svm_handle_exit returns
; false.
align 16
svm_enter:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	push rcx                        ; [rsp + 32]: the host's VMCB
	push rdx                        ; [rsp + 24]: the guest's
	push rsi                        ; [rsp + 16]: x, which holds it
	push rdi                        ; [rsp + 8] = v
	sub rsp, 8                      ; the stack is aligned for calls
.again:
	mov rcx, [rsp + 16]
	mov rax, [rdi + VCPU_RAX]
	mov [rcx + SVM_VMCB_RAX], rax
	clgi
	sti
	mov rax, [rsp + 24]
	vmload
	LOAD_GUEST                      ; RAX is in the VMCB
	vmrun
	vmsave                          ; RAX is the guest's VMCB still
	mov rax, [rsp + 32]
	vmload
	cli
	stgi
	mov rax, [rsp + 8]
	SAVE_GUEST rax
	mov [rax + VCPU_RDI], rdi
	mov rdi, rax
	mov rsi, [rsp + 16]
	mov rax, [rsi + SVM_VMCB_RAX]
	mov [rdi + VCPU_RAX], rax
	xor ebp, ebp                    ; backtraces end here
	call svm_handle_exit
	mov rdi, [rsp + 8]
	test al, al
	jnz .again
	add rsp, 40
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret
