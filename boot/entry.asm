; From a Multiboot2 loader (BIOS or UEFI GRUB) or lamina.efi to C in long mode.
;
; The loader enters boot_start in 32-bit protected mode without paging, EAX = magic, EBX = the boot information (Multiboot2
; specification 2.0, section 3.3; lamina.efi has a magic of its own, for a struct boot_info). The tables built here map the first
; 4 GiB one to one and the image at KERNEL_BASE; the C code replaces them, and the other cores start on them.

%include "asm_offsets.inc"

HEADER_MAGIC equ 0xe85250d6
TABLE equ PTE_P | PTE_W                ; an entry that leads to a table

extern boot_main
global boot_start
global boot_page_tables
global boot_gdt_pointer
global boot_stack_top
global boot_start_tsc

section .multiboot2 progbits alloc noexec nowrite align=8
header:
	dd HEADER_MAGIC
	dd 0                            ; architecture: i386
	dd header.end - header
	dd 0x100000000 - (HEADER_MAGIC + (header.end - header))
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
	cmp edi, MULTIBOOT2_BOOT_MAGIC
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
	bt edx, CPUID_E1_LM
	jnc refuse
	bt edx, CPUID_E1_NX             ; W^X needs it
	mov ebp, no_nx_text
	jnc refuse

	; Page tables: [0] PML4, [1] PDPT low, [2] PDPT high, [3..6] page directories of the first 4 GiB.
	mov edi, boot_page_tables - KERNEL_BASE
	lea eax, [edi + PAGE_SIZE + TABLE]
	mov [edi], eax
	lea eax, [edi + 2 * PAGE_SIZE + TABLE]
	mov [edi + 511 * 8], eax
	lea eax, [edi + 3 * PAGE_SIZE + TABLE]
	mov [edi + 2 * PAGE_SIZE + 510 * 8], eax ; KERNEL_BASE
	xor ecx, ecx
.directory:
	mov [edi + PAGE_SIZE + ecx * 8], eax
	add eax, PAGE_SIZE
	inc ecx
	cmp ecx, 4
	jb .directory
	xor ecx, ecx
.page:
	mov eax, ecx
	shl eax, 21
	or eax, TABLE | PTE_PS          ; 2 MiB
	mov [edi + 3 * PAGE_SIZE + ecx * 8], eax
	inc ecx
	cmp ecx, 2048
	jb .page

	mov eax, CR4_PAE                ; and nothing that the firmware left: 5 levels, CET ...
	mov cr4, eax
	mov cr3, edi
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME | EFER_NXE
	wrmsr
	mov eax, cr0
	or eax, CR0_PG | CR0_WP | CR0_NE | CR0_PE
	and eax, ~(CR0_CD | CR0_NW | CR0_EM | CR0_TS)
	mov cr0, eax
	lgdt [boot_gdt_pointer]
	jmp GDT_CODE:boot_64

bits 64
boot_64:
	mov eax, GDT_DATA
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
	add edx, PORT_COM1
	mov al, ah
	out dx, al
	cmp esi, serial_settings.end
	jb .setting
	mov esi, ebp
	mov edi, VGA_TEXT_PHYS
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
	mov dx, PORT_COM1 + UART_LSR
	in al, dx
	test al, LSR_THRE
	loopz .wait
	mov al, bl
	mov dx, PORT_COM1 + UART_DATA
	out dx, al
	jmp .next
.end:
	cli
	hlt
	jmp .end

; Register and value: 115200 baud, 8 bits, no parity, FIFO.
serial_settings:
	db UART_LCR, LCR_DLAB
	db UART_DIVISOR_LOW, 1
	db UART_DIVISOR_HIGH, 0
	db UART_LCR, LCR_WORD
	db UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX
.end:
no_loader_text: db "lamina: fatal: started by something that is neither lamina.efi nor a Multiboot2 loader; use GRUB's multiboot2 command", 13, 10, 0
no_long_mode_text: db "lamina: fatal: this CPU has no 64-bit long mode; Lamina needs an x86-64 CPU", 13, 10, 0
no_nx_text: db "lamina: fatal: this CPU does not offer no-execute pages (CPUID 80000001 EDX bit 20); enable NX/XD in the firmware set-up", 13, 10, 0

align 8
boot_gdt:
	dq 0
	dq DESCRIPTOR_CODE_64           ; GDT_CODE
	dq DESCRIPTOR_DATA_32           ; GDT_DATA
boot_gdt_pointer:
	dw $ - boot_gdt - 1
	dq boot_gdt

section .scratch nobits alloc noexec write align=4096
boot_page_tables: resb 7 * PAGE_SIZE

section .bss nobits alloc noexec write align=16
boot_stack: resb 8 * 1024
boot_stack_top:
boot_start_tsc: resq 1
boot_magic: resd 1
