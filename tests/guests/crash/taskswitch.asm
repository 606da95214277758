; A task switch, which no 64-bit kernel makes and Lamina refuses: 32-bit protected mode, a far jump to a TSS. Lamina must stop this
; VM with a dump. On the bare machine the switch works and the new task says so.

global guest_main
extern say, power_off

section .rodata
before:	db "guest: task switch", 10, 0
after:	db "guest: the task switch was made", 10, 0

section .text
bits 64
guest_main:
	sub rsp, 8
	mov edi, before
	xor eax, eax
	call say
	cli
	lgdt [gdt_pointer]
	mov eax, tss_old
	mov [gdt.old + 2], ax
	shr eax, 16
	mov [gdt.old + 4], al
	mov eax, tss_new
	mov [gdt.new + 2], ax
	shr eax, 16
	mov [gdt.new + 4], al
	mov [saved_rsp], rsp
	jmp far dword [to_flat]
bits 32
flat:	mov ax, 0x10
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
	mov ax, 0x18
	ltr ax
	jmp 0x20:0		; the task switch

new_task:
	; Long mode again, to say it.
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	extern pml4
	mov eax, pml4
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	and eax, ~8		; TS, which the switch has set
	mov cr0, eax
	jmp 0x28:.long
bits 64
.long:	mov rsp, [saved_rsp]
	mov edi, after
	xor eax, eax
	call say
	call power_off

section .data
align 8
to_flat: dd flat
	dw 0x08
align 8
gdt:	dq 0
	dq 0x00cf9b000000ffff
	dq 0x00cf93000000ffff
.old:	dq 0x0000890000000067
.new:	dq 0x0000890000000067
	dq 0x00af9b000000ffff
gdt_end:
gdt_pointer:
	dw gdt_end - gdt - 1
	dq gdt
saved_rsp: dq 0

align 16
tss_old: times 26 dd 0
align 16
tss_new:
	times 7 dd 0
	dd 0			; CR3
	dd new_task		; EIP
	dd 2			; EFLAGS
	dd 0, 0, 0, 0
	dd stack_top
	dd 0, 0, 0
	dd 0x10, 0x08, 0x10, 0x10, 0x10, 0x10
	dd 0
	dw 0, 0x68

section .bss
	resb 1024
stack_top:
