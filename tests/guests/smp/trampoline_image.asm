; The flat binary of trampoline.asm16.
global trampoline_image, trampoline_image_end
section .rodata
trampoline_image:
	incbin "smp/trampoline.bin"
trampoline_image_end:
