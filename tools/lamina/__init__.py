"""The parts of tools/lamina-run: options, the guest's files, the boot image, the machines, the console and the judgement."""
