"""tools/lamina-image without a machine: the image is reproducible and holds what it must; a stick is only written if it is one."""
import hashlib
import os
import shutil
import subprocess
import sys
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TOOL = os.path.join(TOP, "tools", "lamina-image")
sys.path.insert(0, os.path.join(TOP, "tools"))

from lamina import image, netboot, stick  # noqa: E402
from lamina.errors import UsageError  # noqa: E402

KERNEL = bytes(0x202) + b"HdrS" + bytes(100)
IMAGE = bytes(range(256)) * 4096    # 1 MiB


def run(*words, checked=False, **environment):
    """What the fixture calls Lamina and a kernel is neither: unless a test is about that, it is not checked."""
    done = subprocess.run([TOOL, *words, *([] if checked else ["--no-check"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False,
                          env=dict(os.environ, **environment))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def files(tmp_path):
    """Lamina and a guest, as far as an image is concerned."""
    (tmp_path / "lamina.elf").write_bytes(b"elf" * 1000)
    (tmp_path / "lamina.efi").write_bytes(b"efi" * 1000)
    (tmp_path / "linux").write_bytes(KERNEL)
    (tmp_path / "root.img").write_bytes(bytes(5 << 20))
    return tmp_path


def on_volume(path, tmp_path):
    """What the image's FAT volume holds: {path there: content}."""
    volume, out = tmp_path / "volume", tmp_path / "out"
    subprocess.run(["xorriso", "-osirrox", "on", "-indev", path, "-extract", "/" + image.ESP, volume], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    out.mkdir()
    subprocess.run(["mcopy", "-s", "-i", volume, "::/", out], check=True, stdin=subprocess.DEVNULL)
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_what_is_on_the_image(files, tmp_path):
    status, _, error = run("--guest-kernel", f"{files}/linux", "--guest-disk", f"{files}/root.img", "--memory", "512", "--cpus", "2", "--cmdline", "quiet",
                           "--lamina", f"{files}/lamina.elf", "--lamina-cmdline", "key=1", "--out", f"{files}/a.img")
    assert status == 0, error
    volume = on_volume(f"{files}/a.img", tmp_path)
    config = volume.pop("lamina.cfg").decode().splitlines()
    assert config == ["[vm guest]", 'memsize = "512"', 'numvcpus = "2"', 'kernel = "linux"', 'cmdline = "quiet"', 'disk0 = "module:root.img"']
    grub = volume.pop("boot/grub/grub.cfg").decode()
    assert "multiboot2 /lamina.elf 'key=1'\n" in grub and "module2 --nounzip '/root.img' 'root.img'\n" in grub
    assert volume == {"lamina.elf": b"elf" * 1000, "EFI/BOOT/BOOTX64.EFI": b"efi" * 1000, "lamina.cmdline": b"key=1\n", "linux": KERNEL,
                      "root.img": bytes(5 << 20)}


def test_two_images_are_identical(files, tmp_path):
    """Other folders, times, time zone, permissions and environment: the same bytes."""
    other = tmp_path / "another" / "folder"
    other.mkdir(parents=True)
    for name in ("lamina.elf", "lamina.efi", "linux", "root.img"):
        shutil.copyfile(files / name, other / name)
        os.chmod(other / name, 0o600)
        os.utime(other / name, (1, 1))
    sums = set()
    for folder, environment in ((files, {"TZ": "UTC"}), (other, {"TZ": "Asia/Tokyo", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "77"})):
        (folder / "lamina.cfg").write_text('[vm a]\nkernel = "linux"\ndisk0 = "module:root.img"\n')
        os.umask(0o022 if folder == files else 0o077)
        try:
            status, _, error = run("--config", f"{folder}/lamina.cfg", "--lamina", f"{folder}/lamina.elf", "--out", f"{folder}/a.img", **environment)
        finally:
            os.umask(0o022)
        assert status == 0, error
        sums.add(hashlib.sha256((folder / "a.img").read_bytes()).hexdigest())
        time.sleep(2.1)     # FAT counts two seconds
    assert len(sums) == 1


@pytest.mark.parametrize("words, said", [
    ([], "--guest-kernel"),
    (["--guest-kernel", "@linux"], "--out"),
    (["--guest-kernel", "@gone", "--out", "@a.img"], "gone: no such file"),
    (["--guest-kernel", "@linux", "--config", "@lamina.cfg", "--out", "@a.img"], "--config"),
    (["--image", "@linux", "--out", "@a.img"], "--image"),
    (["--guest-kernel", "@linux", "--mac", "1", "--out", "@a.img"], "--netboot"),
    (["--guest-kernel", "@linux", "--netboot", "@tftp", "--mac", "52:54:00"], "expected a MAC address"),
    (["--guest-kernel", "@linux", "--lamina", "@linux", "--out", "@none/a.img"], "none"),
    (["--config", "@colon.cfg", "--out", "@a.img"], "FAT"),
    (["--config", "@case.cfg", "--out", "@a.img"], "FAT does not tell it from"),
    (["--config", "@own.cfg", "--out", "@a.img"], "the image has its own"),
])
def test_refused(files, words, said):
    for name, kernel, initrd in (("colon", "linux", "a:b"), ("case", "linux", "LINUX"), ("own", "linux", "Lamina.elf")):
        (files / f"{name}.cfg").write_text(f'[vm a]\nkernel = "{kernel}"\ninitrd = "{initrd}"\n')
        (files / initrd).write_bytes(b"x")
    words = [f"{files}/{word[1:]}" if word.startswith("@") else word for word in words]
    status, _, error = run("--lamina", f"{files}/lamina.elf", *words)
    assert status in (1, 2) and said in error
    assert not os.path.exists(files / "a.img")


def test_a_file_too_large_for_fat(files):
    os.truncate(files / "root.img", 4 << 30)
    status, _, error = run("--guest-kernel", f"{files}/linux", "--guest-disk", f"{files}/root.img", "--lamina", f"{files}/lamina.elf",
                           "--out", f"{files}/a.img")
    assert status == 2 and "root.img" in error and "4 GiB" in error


def test_network_folder(files):
    for words in ([], ["--mac", "52:54:00:AB:cd:ef"]):
        status, _, error = run("--guest-kernel", f"{files}/linux", "--lamina", f"{files}/lamina.elf", "--netboot", f"{files}/tftp", *words)
        assert status == 0, error
    for name, grub in (("default", "grub.cfg"), ("52-54-00-ab-cd-ef", "grub.cfg-01-52-54-00-ab-cd-ef")):
        assert f"multiboot2 /machines/{name}/lamina.elf\n" in (files / "tftp" / "boot" / "grub" / grub).read_text()
        assert (files / "tftp" / "machines" / name / "linux").read_bytes() == KERNEL
    for loader in netboot.LOADERS.values():
        assert (files / "tftp" / loader).stat().st_size > 10000


# ---- What it is given is not destroyed ----


def test_network_folder_from_itself(files):
    """A machine's folder made again from its own lamina.cfg, say after a new build: nothing of it may get lost."""
    (files / "lamina.cfg").write_text('[vm a]\nkernel = "linux"\ndisk0 = "module:root.img"\n')
    words = ["--lamina", f"{files}/lamina.elf", "--netboot", f"{files}/tftp"]
    status, _, error = run("--config", f"{files}/lamina.cfg", *words)
    assert status == 0, error
    own = files / "tftp" / "machines" / "default"
    (own / "lamina.cfg").write_text((own / "lamina.cfg").read_text() + "memsize = 512\n")
    (own / "root.img").write_bytes(b"the user's")
    (files / "lamina.elf").write_bytes(b"new")
    status, _, error = run("--config", f"{own}/lamina.cfg", *words)
    assert (own / "root.img").read_bytes() == b"the user's"
    assert status == 0, error
    assert (own / "lamina.elf").read_bytes() == b"new" and (own / "linux").read_bytes() == KERNEL
    assert "memsize = 512" in (own / "lamina.cfg").read_text()
    assert sorted(os.listdir(files / "tftp" / "machines")) == ["default"]


def test_network_folder_stays_where_a_file_is_missing(files):
    words = ["--guest-kernel", f"{files}/linux", "--netboot", f"{files}/tftp"]
    assert run("--lamina", f"{files}/lamina.elf", *words)[0] == 0
    assert run("--lamina", f"{files}/gone.elf", *words)[0] == 2
    assert (files / "tftp" / "machines" / "default" / "linux").read_bytes() == KERNEL


@pytest.mark.parametrize("name", ["linux", "root.img"])
def test_out_is_an_input(files, name):
    before = (files / name).read_bytes()
    status, _, _ = run("--guest-kernel", f"{files}/linux", "--guest-disk", f"{files}/root.img", "--lamina", f"{files}/lamina.elf", "--out", f"{files}/{name}")
    assert (files / name).read_bytes() == before
    assert status == 2


def test_out_is_a_device(files):
    """A device's node must not be replaced by a file: nothing would be on the stick."""
    os.mkfifo(files / "sdx")
    status, _, error = run("--guest-kernel", f"{files}/linux", "--lamina", f"{files}/lamina.elf", "--out", f"{files}/sdx")
    assert status == 2 and "--write" in error
    subprocess.run(["test", "-p", f"{files}/sdx"], check=True)


def test_keep_iso_is_an_input(files):
    """tools/lamina-run's --keep-iso likewise."""
    before = (files / "root.img").read_bytes()
    done = subprocess.run([os.path.join(TOP, "tools", "lamina-run"), "--kernel", f"{files}/linux", "--disk", f"{files}/root.img", "--lamina",
                           f"{files}/lamina.elf", "--no-run", "--keep-iso", f"{files}/root.img"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False)
    assert (files / "root.img").read_bytes() == before
    assert done.returncode == 2


# ---- The stick: a tree like sysfs, and a plain file in place of the device ----


class FakeSystem(stick.System):
    """/dev/sdb is 8:16, with a partition 8:17; what the user answers is given."""

    def __init__(self, folder):
        self.device, self.sysfs = str(folder / "sdb"), str(folder / "sys")
        self.mounts, self.swaps = str(folder / "mountinfo"), str(folder / "swaps")
        self.folder = folder / "sys" / "dev" / "block" / "8:16"
        (self.folder / "sdb1" / "holders").mkdir(parents=True)
        (self.folder / "device").mkdir()
        for name, text in (("removable", "1"), ("ro", "0"), ("size", str((2 << 20) // 512)), ("device/vendor", "ACME    "), ("device/model", "Stick"),
                           ("sdb1/partition", "1"), ("sdb1/dev", "8:17")):
            (self.folder / name).write_text(text + "\n")
        (folder / "mountinfo").write_text("22 1 254:0 / / rw - ext4 /dev/vda rw\n")
        (folder / "swaps").write_text("Filename Type Size Used Priority\n")
        (folder / "sdb").write_bytes(b"\xff" * (2 << 20))
        (folder / "image").write_bytes(IMAGE)
        self.image, self.answer, self.asked = str(folder / "image"), self.device, ""

    def number(self, path):
        return {"sdb": "8:16", "sdb1": "8:17"}.get(os.path.basename(path))

    def ask(self, question):
        self.asked += question
        return self.answer


@pytest.fixture
def system(tmp_path):
    return FakeSystem(tmp_path)


def test_a_stick_is_written(system, tmp_path):
    stick.write(system.image, system.device, system)
    assert "ACME Stick" in system.asked and "0.0 GB" in system.asked and system.device in system.asked
    written = (tmp_path / "sdb").read_bytes()
    assert written[:len(IMAGE)] == IMAGE
    # The rest stays, but for what may be an old partition table's copy at the end.
    assert written[len(IMAGE):-34 * 512] == b"\xff" * (len(written) - len(IMAGE) - 34 * 512) and written[-34 * 512:] == bytes(34 * 512)


@pytest.mark.parametrize("name, text, said", [
    ("removable", "0", "not a removable disk"),
    ("size", "0", "no medium"),
    ("size", "100", "too small"),
    ("ro", "1", "write-protected"),
    ("partition", "1", "name the whole disk"),
    ("sdb1/holders/dm-0", "", "sdb1 is used by dm-0"),
    ("@mountinfo", "30 1 8:17 / /media/photos rw - vfat /dev/sdb1 rw", "sdb1 is mounted on /media/photos"),
    ("@mountinfo", "30 1 8:16 / /mnt rw - ext4 /dev/sdb rw", "sdb is mounted on /mnt"),
    ("@swaps", "head\n@sdb1 partition 1 0 -2", "swap"),
])
def test_what_is_no_free_stick(system, tmp_path, name, text, said):
    (tmp_path / "sdb1").write_bytes(b"")
    path = tmp_path / name[1:] if name.startswith("@") else system.folder / name
    path.write_text(text.replace("@", f"{tmp_path}/") + "\n")
    with pytest.raises(UsageError, match=said):
        stick.write(system.image, system.device, system)
    assert (tmp_path / "sdb").read_bytes() == b"\xff" * (2 << 20) and not system.asked


@pytest.mark.parametrize("answer", ["", "y", "yes", "/dev/sda"])
def test_another_answer(system, tmp_path, answer):
    system.answer = answer
    with pytest.raises(UsageError, match="not written"):
        stick.write(system.image, system.device, system)
    assert (tmp_path / "sdb").read_bytes() == b"\xff" * (2 << 20)


def test_it_changes_while_we_ask(system, tmp_path):
    class Changing(FakeSystem):
        def ask(self, question):
            (self.folder / "removable").write_text("0\n")
            return self.device
    system.__class__ = Changing
    with pytest.raises(UsageError, match="not a removable disk"):
        stick.write(system.image, system.device, system)
    assert (tmp_path / "sdb").read_bytes() == b"\xff" * (2 << 20)


def test_a_stick_that_keeps_nothing(system, monkeypatch):
    monkeypatch.setattr(stick.os, "pread", lambda descriptor, size, offset: bytes(size))
    with pytest.raises(UsageError, match="is not what was written"):
        stick.write(system.image, system.device, system)


@pytest.mark.parametrize("path, said", [("/dev/null", "not a disk"), ("/dev/none", "no such device"), ("@linux", "not a disk")])
def test_what_is_no_disk(files, path, said):
    status, _, error = run("--image", f"{files}/linux", "--write", path.replace("@", f"{files}/"))
    assert status == 2 and said in error


LAMINA = os.path.join(TOP, "build", "lamina.elf")


@pytest.fixture(scope="module")
def lamina():
    """The hypervisor and what is built with it."""
    subprocess.run(["make", "-s", "-C", TOP, "lamina"], check=True, stdout=subprocess.DEVNULL,
                   env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")})
    return LAMINA


@pytest.mark.parametrize("words, sentences", [
    (["--guest-kernel", "@text"], ["text: is no kernel that can be loaded"]),
    (["--guest-kernel", "@empty"], ['kernel = "empty": the file is empty']),
    (["--guest-kernel", "@text", "--guest-initrd", "@empty"], ['initrd = "empty": the file is empty']),
    (["--guest-kernel", "@text", "--memory", "99999999", "--cpus", "5000"], ["memsize is \"99999999\"", "numvcpus is \"5000\""]),
    (["--guest-kernel", "@text", "--set", "numvcpus=zero", "--set", "blah=5"], ['numvcpus is "zero"', 'unknown setting "blah"']),
    (["--guest-kernel", "@text", "--set", "vm.nosuch.memsize=5"], ['unknown setting "vm.nosuch.memsize"']),
    (["--config", "@empty"], ["no VM: expected a section [vm NAME]"]),
    (["--config", "@utf16.cfg"], ["utf16.cfg:1: the file is UTF-16 text"]),
    (["--config", "@binary.cfg"], ["binary.cfg:1: the file is not text"]),
    (["--config", "@wrong.cfg"], [f"wrong.cfg:{line}: unknown key" for line in range(2, 27)]),
    (["--config", "@missing.cfg", "--check"], ['vm a: kernel = "nothing": there is no such file', 'vm b: initrd = "nowhere": there is no such file']),
    (["--config", "@disks.cfg"], ["vm b: disk0 = \"module:text\": disk0 of vm a is this file too"]),
    (["--guest-kernel", "@text", "--lamina", "@text"], ["not lamina.elf"]),
    (["--guest-kernel", "@"], ["a folder, not a file"]),
    (["--guest-kernel", "@text", "--guest-disk", "sata:0"], ["nvme:", "ahci:", "virtio:", " ata:", "serial:"]),
])
def test_what_lamina_would_refuse(lamina, tmp_path, words, sentences):
    """Nothing is made, the status is 2, and all that is wrong is said once."""
    (tmp_path / "text").write_text("not a kernel\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "utf16.cfg").write_bytes("[vm a]\nkernel = text\n".encode("utf-16"))
    (tmp_path / "binary.cfg").write_bytes(b"[vm a]\n" + bytes(100))
    (tmp_path / "wrong.cfg").write_text("[vm a]\n" + "what = 1\n" * 25 + "kernel = text\n")
    (tmp_path / "missing.cfg").write_text("[vm a]\nkernel = nothing\n[vm b]\nkernel = text\ninitrd = nowhere\n")
    (tmp_path / "disks.cfg").write_text('[vm a]\nkernel = text\ndisk0 = "module:text"\n[vm b]\nkernel = text\ndisk0 = "module:text"\n')
    words = [f"{tmp_path}/{word[1:]}" if word.startswith("@") else word for word in words]
    target = [] if "--check" in words else ["--out", f"{tmp_path}/a.img"]
    status, _, error = run("--lamina", lamina, *words, *target, checked=True)
    assert status == 2 and not (tmp_path / "a.img").exists()
    for sentence in sentences:
        assert error.count(sentence) == 1, error
    assert "Traceback" not in error and "usage:" not in error


def test_a_byte_order_mark_hides_no_setting(lamina, tmp_path):
    """The first line counts, with and without the mark."""
    (tmp_path / "a.cfg").write_bytes(b'\xef\xbb\xbfmonitor.virtual_mmu = "nonsense"\n[vm a]\nkernel = text\n')
    (tmp_path / "text").write_text("x")
    status, _, error = run("--lamina", lamina, "--config", f"{tmp_path}/a.cfg", "--check", checked=True)
    assert status == 2 and 'a.cfg:1: monitor.virtual_mmu is "nonsense"' in error


def test_the_folder_of_out_is_named_as_given(tmp_path):
    status, _, error = run("--guest-kernel", TOOL, "--out", "no/such/folder/a.img")
    assert status == 2 and "--out no/such/folder/a.img: there is no folder no/such/folder" in error


def test_a_wrong_option_is_one_sentence():
    status, _, error = run("--nosuch")
    assert status == 2 and error == "lamina-image: unrecognized arguments: --nosuch; see lamina-image --help\n"
