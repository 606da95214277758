"""make run never writes over what HOST_DISK names."""
import os
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def prepare(disk, folder):
    """Runs the line of make run's recipe that makes the disk, in a folder of its own."""
    done = subprocess.run(["make", "-n", "-C", TOP, "run", "MACHINE=qemu", "DISK=nvme", f"HOST_DISK={disk}"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False, env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})
    lines = [line for line in done.stdout.decode().splitlines() if "cp build/guests/disk.img" in line]
    assert len(lines) == 1
    (folder / "build" / "guests").mkdir(parents=True)
    (folder / "build" / "guests" / "disk.img").write_bytes(b"demo")
    subprocess.run(lines[0], shell=True, cwd=folder, check=True)


def test_a_new_disk(tmp_path):
    prepare("new.img", tmp_path)
    assert (tmp_path / "new.img").read_bytes() == b"demo"


def test_a_disk_that_is_there(tmp_path):
    (tmp_path / "old.img").write_bytes(b"mine")
    prepare("old.img", tmp_path)
    assert (tmp_path / "old.img").read_bytes() == b"mine"


def test_what_is_no_plain_file(tmp_path):
    """A folder stands in for a disk's node: it is there, and `test -f` says no."""
    (tmp_path / "sdx").mkdir()
    prepare("sdx", tmp_path)
    assert not os.listdir(tmp_path / "sdx")
