; Where the other cores start: real mode, in a page below 1 MiB that this code was copied to (CS = page << 8, IP = 0). They go
; straight to long mode on the boot page tables (SDM vol. 3, "Initializing IA-32e Mode").

%include "asm_offsets.inc"

extern boot_page_tables
extern ap_main
global trampoline_start
global trampoline_end
global trampoline_root
global trampoline_stack
global trampoline_cpu

section .rodata
align 16
bits 16
trampoline_start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	movzx ebp, ax
	shl ebp, 4                      ; where this page is
	lea eax, [ebp + gdt - trampoline_start]
	mov [gdt_pointer - trampoline_start + 2], eax
	lea eax, [ebp + start_64 - trampoline_start]
	mov [far_64 - trampoline_start], eax
	mov eax, cr4
	or eax, CR4_PAE
	mov cr4, eax
	mov eax, boot_page_tables - KERNEL_BASE
	mov cr3, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME | EFER_NXE
	wrmsr
	lgdt [gdt_pointer - trampoline_start]
	mov eax, CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE ; caches on
	mov cr0, eax
	jmp far dword [far_64 - trampoline_start]

bits 64
start_64:
	mov eax, GDT_DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	lea rbx, [rel trampoline_start]
	mov rcx, [rbx + trampoline_root - trampoline_start]
	mov rsp, [rbx + trampoline_stack - trampoline_start]
	mov rdi, [rbx + trampoline_cpu - trampoline_start]
	mov rax, ap_entry
	jmp rax

align 8
gdt:
	dq 0
	dq DESCRIPTOR_CODE_64           ; GDT_CODE
	dq DESCRIPTOR_DATA_32           ; GDT_DATA
gdt_pointer:
	dw $ - gdt - 1
	dd 0
far_64:
	dd 0
	dw GDT_CODE
align 8
trampoline_root: dq 0
trampoline_stack: dq 0
trampoline_cpu: dq 0
trampoline_end:

; In Lamina's image, which both sets of page tables map: leave the boot tables; the stack is only in the final ones.
section .text
ap_entry:
	mov cr3, rcx
	xor ebp, ebp
	call ap_main
.halt:
	cli
	hlt
	jmp .halt
