; From GRUB's or Lamina's Multiboot entry (32-bit, no paging) to guest_main() in long mode, the first 4 GiB mapped one to one.
; Multiboot specification 0.6.96, sections 3.1 and 3.2.

global start, gdt, gdt_pointer, tss, boot_magic, boot_info_address, pml4, page_directories, window_table, boot_stack_top
global enter_long_mode_ap
extern guest_start

MAGIC equ 0x1badb002
FLAGS equ 3			; modules on page boundaries, memory information

CR4_PAE equ 1 << 5
CR4_OSFXSR equ 1 << 9
CR4_OSXMMEXCPT equ 1 << 10
EFER equ 0xc0000080
EFER_LME equ 1 << 8

section .multiboot align=4
	dd MAGIC, FLAGS, -(MAGIC + FLAGS)

section .text
bits 32
start:
	cli
	cld
	mov [boot_magic], eax
	mov [boot_info_address], ebx
	mov esp, boot_stack_top

	; 4 page directories of 512 pages of 2 MiB; everything is open to user mode (tests map what they want closed in the window).
	mov edi, page_directories
	mov eax, 0x87		; present, writable, user, 2 MiB
	mov ecx, 2048
.map:	mov [edi], eax
	mov dword [edi + 4], 0
	add eax, 0x200000
	add edi, 8
	loop .map
	mov dword [pdpt], page_directories + 7
	mov dword [pdpt + 8], page_directories + 0x1007
	mov dword [pdpt + 16], page_directories + 0x2007
	mov dword [pdpt + 24], page_directories + 0x3007
	mov dword [pml4], pdpt + 7
	; The window at 512 GiB: 512 pages of 4 KiB, empty at first.
	mov dword [pml4 + 8], window_pdpt + 7
	mov dword [window_pdpt], window_directory + 7
	mov dword [window_directory], window_table + 7

	; The TSS descriptor's base is not a constant that a relocation could split.
	mov eax, tss
	mov [gdt.tss + 2], ax
	shr eax, 16
	mov [gdt.tss + 4], al
	mov [gdt.tss + 7], ah
	call long_mode_on
	lgdt [gdt_pointer]
	jmp 0x08:.long

bits 64
.long:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov eax, 0x50
	ltr ax
	mov rsp, boot_stack_top
	xor ebp, ebp
	call guest_start
.stop:	cli
	hlt
	jmp .stop

bits 32
; Turns on PAE, SSE, long mode and paging on the CPU that calls it; clobbers EAX, ECX, EDX.
long_mode_on:
	mov eax, cr4
	or eax, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, EFER
	rdmsr
	or eax, EFER_LME
	wrmsr
	mov eax, cr0
	and eax, ~(1 << 2 | 1 << 3 | 3 << 29)	; EM, TS, and CD and NW, which a CPU has set after INIT
	or eax, 1 << 31 | 1 << 16 | 1 << 5 | 1 << 1	; PG, WP, NE, MP
	mov cr0, eax
	ret

; An application processor comes here from its trampoline in protected mode: EBX = its stack's top, ESI = its 64-bit entry,
; EDI = its index, handed to the entry.
enter_long_mode_ap:
	mov esp, ebx
	call long_mode_on
	jmp 0x08:.long
bits 64
.long:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov esp, ebx
	mov esi, esi
	mov edi, edi
	xor ebp, ebp
	call rsi
.stop:	cli
	hlt
	jmp .stop

section .data
align 16
gdt:	dq 0
	dq 0x00af9b000000ffff	; 08: 64-bit code
	dq 0x00cf93000000ffff	; 10: data
	dq 0x00cf9b000000ffff	; 18: 32-bit code
	dq 0x00cff3000000ffff	; 20: user data
	dq 0x00affb000000ffff	; 28: user 64-bit code
	dq 0x00009b000000ffff	; 30: 16-bit code, base 0, 64 KiB
	dq 0x000093000000ffff	; 38: 16-bit data, base 0, 64 KiB
	dq 0x00cf13000000ffff	; 40: data, not present
	dq 0x00cffb000000ffff	; 48: user 32-bit code
.tss:	dq 0x0000890000000067	; 50: the TSS, 16 bytes
	dq 0
	dq 0			; 60 to 78: free for tests
	dq 0
	dq 0
	dq 0
gdt_end:
gdt_pointer:
	dw gdt_end - gdt - 1
	dq gdt

align 16
tss:	dd 0
	dq trap_stack_top	; RSP0
	dq 0, 0
	dq 0
	dq ist1_top, ist2_top	; IST1: double fault, machine check; IST2: NMI
	dq 0, 0, 0, 0, 0
	dq 0
	dw 0
	dw 0x68			; no I/O permission map

boot_magic: dd 0
boot_info_address: dd 0

section .bss nobits align=4096
pml4:	resb 4096
pdpt:	resb 4096
page_directories: resb 4 * 4096
window_pdpt: resb 4096
window_directory: resb 4096
window_table: resb 4096
	resb 65536
boot_stack_top:
	resb 16384
trap_stack_top:
	resb 8192
ist1_top:
	resb 8192
ist2_top:
