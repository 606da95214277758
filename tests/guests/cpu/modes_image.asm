; The flat binary of modes.asm16.
global modes_image, modes_image_end
section .rodata
modes_image:
	incbin "cpu/modes.bin"
modes_image_end:
