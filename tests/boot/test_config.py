"""Wrong configuration files: refused with file, line and what was expected; the other VMs still start."""
import os

from conftest import GUESTS, linux


def write_config(tmp_path, text):
    """A lamina.cfg beside links to the guests' files."""
    for name in ("gnumach.elf", "initrd.gz", "vmlinuz"):
        os.symlink(os.path.join(GUESTS, name), tmp_path / name)
    path = tmp_path / "lamina.cfg"
    path.write_text(text)
    return str(path)


def test_every_wrong_line_is_named(batch, tmp_path):
    """Three VMs are wrong, each in its own way; the right one runs."""
    config = write_config(tmp_path, """\
# a comment
[vm one]
kernel = "gnumach.elf"
memsize = "lots"
[vm two]
kernel = "gnumach.elf"
memsise = 64
[vm three]
kernel = "gnumach.elf
""")
    status = batch.run("--config", config, "--no-check", timeout=120)
    assert status == 5, batch.said
    batch.require(r"lamina: lamina\.cfg:4: .*memsize.*expected a whole number")
    batch.require(r'lamina: lamina\.cfg:7: unknown key "memsise"')
    batch.require(r"lamina: lamina\.cfg:9: .*quotation mark is not closed")
    batch.require(r"lamina: fatal: ")


def test_a_module_that_is_not_there(batch, tmp_path):
    config = write_config(tmp_path, '[vm guest]\nkernel = "nothing-here"\n')
    assert batch.run("--config", config, "--allow-missing", timeout=120) == 5, batch.said
    batch.require(r"lamina: .*nothing-here")
    batch.require(r"lamina: fatal: ")


def test_a_kernel_that_is_none(batch, tmp_path):
    config = write_config(tmp_path, '[vm guest]\nkernel = "initrd.gz"\n')
    assert batch.run("--config", config, "--no-check", timeout=120) == 5, batch.said
    batch.require(r"lamina: .*initrd\.gz")


def test_a_disk_that_is_none(batch, tmp_path):
    config = write_config(tmp_path, '[vm guest]\nkernel = "gnumach.elf"\ndisk0 = "module:no-disk"\n')
    assert batch.run("--config", config, "--allow-missing", timeout=120) == 5, batch.said
    batch.require(r"lamina: .*no-disk")


def test_more_memory_than_there_is(batch):
    assert batch.run(*linux("--memory", "65536"), timeout=120) == 5, batch.said
    batch.require(r"lamina: .*65536")
