; The world switch (APM vol. 2, "VMRUN Instruction", "#VMEXIT"). The CPU switches RAX, RSP, RIP, RFLAGS, control registers, CS, DS, ES, SS
; and the descriptor tables; VMLOAD and VMSAVE the rest of the segments and the system-call MSRs; this code the other registers.
;
; Host interrupts and NMIs are held back by GIF from before the guest's registers are loaded until Lamina's own TR and GS are back. RFLAGS.IF
; is 1 at VMRUN, because it says whether a host interrupt makes the guest exit (V_INTR_MASKING); it is 0 again before GIF opens: an
; interrupt that caused an exit is taken where the handler wants it.

%include "asm_offsets.inc"

bits 64
extern svm_handle_exit
global svm_enter

%define GPR(n) VCPU_GPR + 8 * (n)
VMCB_RAX equ 0x5f8

section .text

%macro LOAD_GUEST 0 ; rdi = struct vcpu; RAX is in the VMCB
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
	push rsi                        ; [rsp + 16]: x, whose first member it is
	push rdi                        ; [rsp + 8] = v
	sub rsp, 8                      ; the stack is aligned for calls
.again:
	mov rcx, [rsp + 16]
	mov rax, [rdi + GPR(0)]
	mov [rcx + VMCB_RAX], rax
	clgi
	sti
	mov rax, [rsp + 24]
	vmload
	LOAD_GUEST
	vmrun
	vmsave                          ; RAX is the guest's VMCB still
	mov rax, [rsp + 32]
	vmload
	cli
	stgi
	mov rax, [rsp + 8]
	mov [rax + GPR(1)], rcx
	mov [rax + GPR(2)], rdx
	mov [rax + GPR(3)], rbx
	mov [rax + GPR(5)], rbp
	mov [rax + GPR(6)], rsi
	mov [rax + GPR(7)], rdi
	mov [rax + GPR(8)], r8
	mov [rax + GPR(9)], r9
	mov [rax + GPR(10)], r10
	mov [rax + GPR(11)], r11
	mov [rax + GPR(12)], r12
	mov [rax + GPR(13)], r13
	mov [rax + GPR(14)], r14
	mov [rax + GPR(15)], r15
	mov rdi, rax
	mov rsi, [rsp + 16]
	mov rax, [rsi + VMCB_RAX]
	mov [rdi + GPR(0)], rax
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
