; From 64-bit mode to a 32-bit mode with paging of its own, and back. SDM vol. 3, section 9.8.5, "Initializing IA-32e Mode", and
; 9.8.5.4, "Switching Out of IA-32e Mode Operation".

global legacy, legacy_run, legacy_image, legacy_image_end
extern gdt, tss

EFER equ 0xc0000080
CR0_PG equ 1 << 31
CODE64 equ 0x08
DATA equ 0x10
CODE32 equ 0x18
TSS64 equ 0x50
TSS32 equ 0x60

section .data
align 8
; struct legacy of run.c
legacy:
.cr0:	dd 0
.cr3:	dd 0
.cr4:	dd 0
.efer:	dd 0
.ops:	dd 0
.entry:	dd 0
.idt:	dd 0

own_cr3: dd 0
own_cr4: dd 0
own_rsp: dq 0
own_idt: dw 0
	dq 0

; What a task state segment of 104 bytes needs for entries from user mode: ESP0 and SS0.
align 16
tss32:	dd 0
	dd stack32_top
	dd DATA
	times 22 dd 0
	dw 0, 104

section .bss nobits align=16
stack32: resb 4096
stack32_top:

section .text
bits 64
; void legacy_run(void): what `legacy` says; interrupts are off. The caller restores CR0.
legacy_run:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [own_rsp], rsp
	sidt [own_idt]
	mov rax, cr3
	mov [own_cr3], eax
	mov rax, cr4
	mov [own_cr4], eax
	; The 32-bit TSS, available.
	mov eax, tss32
	mov word [gdt + TSS32], 103
	mov [gdt + TSS32 + 2], ax
	shr eax, 16
	mov [gdt + TSS32 + 4], al
	mov word [gdt + TSS32 + 5], 0x0089
	mov [gdt + TSS32 + 7], ah
	push qword CODE32
	mov eax, .compatibility
	push rax
	retfq

bits 32
.compatibility:
	mov eax, DATA
	mov ss, eax
	mov ds, eax
	mov es, eax
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	mov ecx, EFER
	rdmsr
	mov eax, [legacy.efer]
	wrmsr
	mov eax, [legacy.cr4]
	mov cr4, eax
	mov eax, [legacy.cr3]
	mov cr3, eax
	mov eax, [legacy.cr0]
	mov cr0, eax
	mov eax, [legacy.idt]
	lidt [eax]
	mov eax, TSS32
	ltr ax
	mov esi, [legacy.ops]
	call [legacy.entry]

	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	mov eax, [own_cr4]
	mov cr4, eax
	mov eax, [own_cr3]
	mov cr3, eax
	mov ecx, EFER
	rdmsr
	or eax, 1 << 8
	wrmsr
	mov eax, cr0
	or eax, CR0_PG
	mov cr0, eax
	jmp CODE64:.long
bits 64
.long:	mov eax, DATA
	mov ss, eax
	mov ds, eax
	mov es, eax
	mov rsp, [own_rsp]
	lidt [own_idt]
	and byte [gdt + TSS64 + 5], ~2	; no longer busy
	mov eax, TSS64
	ltr ax
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

section .rodata
legacy_image:
	incbin "stress/legacy_code.bin"
legacy_image_end:
