; From a Multiboot2 loader (BIOS or UEFI GRUB) or lamina.efi to C in long mode.
;
; The loader enters boot_start in 32-bit protected mode without paging, EAX = magic, EBX = the boot information (Multiboot2
; specification 2.0, section 3.3; lamina.efi has a magic of its own, for a struct boot_info). The tables built here map the first 4 GiB one to one and the image at KERNEL_BASE; the C code
; replaces them, and the other cores start on them.

MULTIBOOT2_MAGIC equ 0x36d76289
BOOT_INFO_MAGIC equ 0x4c616d69         ; boot_info.h
KERNEL_BASE equ 0xffffffff80000000
COM1 equ 0x3f8

extern boot_main
global boot_start
global boot_page_tables
global boot_gdt_pointer
global boot_stack_top
global boot_start_tsc

section .multiboot2 progbits alloc noexec nowrite align=8
header:
	dd 0xe85250d6                   ; magic
	dd 0                            ; architecture: i386
	dd header.end - header
	dd 0x100000000 - (0xe85250d6 + (header.end - header))
	align 8
	dw 1, 0                         ; information request
	dd 8 + 4 * 3
	dd 1, 3, 6                      ; command line, modules, memory map
	align 8
	dw 5, 1                         ; framebuffer, optional: the mode that the firmware is in (gfxpayload of GRUB says which)
	dd 20
	dd 0, 0, 0                      ; any width, height, depth
	align 8
	dw 6, 0                         ; modules on page boundaries
	dd 8
	align 8
	dw 0, 0
	dd 8
.end:

section .boot.text progbits alloc exec nowrite align=16
bits 32
boot_start:
	cli
	cld
	mov edi, eax
	mov esi, ebx
	rdtsc
	mov [boot_start_tsc - KERNEL_BASE], eax
	mov [boot_start_tsc - KERNEL_BASE + 4], edx
	mov esp, boot_stack_top - KERNEL_BASE
	mov [boot_magic - KERNEL_BASE], edi
	cmp edi, MULTIBOOT2_MAGIC
	je .loader_known
	cmp edi, BOOT_INFO_MAGIC
	mov ebp, no_loader_text
	jne refuse
.loader_known:

	; Long mode (SDM vol. 2, CPUID; CPUID itself is older than any CPU that GRUB boots on).
	mov eax, 0x80000000
	cpuid
	mov ebp, no_long_mode_text
	cmp eax, 0x80000001
	jb refuse
	mov eax, 0x80000001
	cpuid
	bt edx, 29
	jnc refuse
	bt edx, 20                      ; NX: W^X needs it
	mov ebp, no_nx_text
	jnc refuse

	; Page tables: [0] PML4, [1] PDPT low, [2] PDPT high, [3..6] page directories of the first 4 GiB.
	mov edi, boot_page_tables - KERNEL_BASE
	lea eax, [edi + 0x1003]
	mov [edi], eax
	lea eax, [edi + 0x2003]
	mov [edi + 511 * 8], eax
	lea eax, [edi + 0x3003]
	mov [edi + 0x2000 + 510 * 8], eax ; KERNEL_BASE
	xor ecx, ecx
.directory:
	mov [edi + 0x1000 + ecx * 8], eax
	add eax, 0x1000
	inc ecx
	cmp ecx, 4
	jb .directory
	xor ecx, ecx
.page:
	mov eax, ecx
	shl eax, 21
	or eax, 0x83                    ; present, writable, 2 MiB
	mov [edi + 0x3000 + ecx * 8], eax
	inc ecx
	cmp ecx, 2048
	jb .page

	mov eax, 1 << 5                 ; PAE, and nothing that the firmware left: 5 levels, CET ...
	mov cr4, eax
	mov cr3, edi
	mov ecx, 0xc0000080             ; EFER
	rdmsr
	or eax, (1 << 8) | (1 << 11)    ; LME, NXE
	wrmsr
	mov eax, cr0
	or eax, (1 << 31) | (1 << 16) | (1 << 5) | 1 ; PG, WP, NE, PE
	and eax, ~((1 << 30) | (1 << 29) | (1 << 2) | (1 << 3)) ; CD, NW, EM, TS
	mov cr0, eax
	lgdt [boot_gdt_pointer]
	jmp 0x08:boot_64

bits 64
boot_64:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, boot_stack_top
	mov edi, [boot_magic]           ; and ESI is the boot information's physical address
	xor ebp, ebp                    ; the end of every backtrace
	mov rax, boot_main
	call rax
.halt:
	hlt
	jmp .halt

; EBP = a sentence: to COM1 and the text screen, then halt for good.
bits 32
refuse:
	mov esi, serial_settings
.setting:
	lodsw
	movzx edx, al
	add edx, COM1
	mov al, ah
	out dx, al
	cmp esi, serial_settings.end
	jb .setting
	mov esi, ebp
	mov edi, 0xb8000
.next:
	lodsb
	test al, al
	jz .end
	mov ah, 0x4f
	cmp al, 10
	je .serial
	mov [edi], ax
	add edi, 2
.serial:
	mov bl, al
	mov ecx, 100000
.wait:
	mov dx, COM1 + 5
	in al, dx
	test al, 0x20
	loopz .wait
	mov al, bl
	mov dx, COM1
	out dx, al
	jmp .next
.end:
	cli
	hlt
	jmp .end

; Register and value: 115200 baud, 8 bits, no parity, FIFO.
serial_settings: db 3, 0x80, 0, 1, 1, 0, 3, 3, 2, 7
.end:
no_loader_text: db "lamina: fatal: started by something that is neither lamina.efi nor a Multiboot2 loader; use GRUB's multiboot2 command", 13, 10, 0
no_long_mode_text: db "lamina: fatal: this CPU has no 64-bit long mode; Lamina needs an x86-64 CPU", 13, 10, 0
no_nx_text: db "lamina: fatal: this CPU does not offer no-execute pages (CPUID 80000001 EDX bit 20); enable NX/XD in the firmware set-up", 13, 10, 0

align 8
boot_gdt:
	dq 0
	dq 0x00af9b000000ffff           ; 0x08: 64-bit code
	dq 0x00cf93000000ffff           ; 0x10: data
boot_gdt_pointer:
	dw $ - boot_gdt - 1
	dq boot_gdt

section .scratch nobits alloc noexec write align=4096
boot_page_tables: resb 7 * 4096

section .bss nobits alloc noexec write align=16
boot_stack: resb 8 * 1024
boot_stack_top:
boot_start_tsc: resq 1
boot_magic: resd 1
