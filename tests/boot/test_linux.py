"""Debian's unmodified kernel on Lamina: shell, disk, reboots, panic, power-off."""
import re
import time


from conftest import BOTH, linux

# What each core says of itself once it can run guests.
CORE_IS_READY = {"bochs": r"^lamina: core \d+: .*(VMX|VT-x)", "qemu": r"^lamina: core \d+: .*(SVM|AMD-V)"}


def exit_statistics(boot):
    """Lamina's statistics at power-off: {reason: (count, ticks)}."""
    lines = re.findall(r"^lamina: vm guest: exit (.+?) +count (\d+) +ticks (\d+)", boot.text, re.MULTILINE)
    return {name: (int(count), int(ticks)) for name, count, ticks in lines}


def check_power_off(boot):
    boot.require(r"^lamina: vm guest: powered off by the guest")
    statistics = exit_statistics(boot)
    assert "CPUID" in statistics, f"no exit statistics for CPUID: {statistics}"
    assert all(count > 0 and ticks > 0 for count, ticks in statistics.values()), statistics
    boot.require(r"^lamina: machine: power off")


def check_cores(boot, count):
    assert boot.count(CORE_IS_READY[boot.machine]) == count, "not every core says that it can run guests"


def check_shell(session):
    """Both directions of the console, and Ctrl-C."""
    assert session.run("echo sum $((19 + 23))") == "sum 42"
    session.child.sendline("sleep 100000")
    session.expect(r"sleep 100000\r*\n", 60)
    time.sleep(2)
    session.child.send("\x03")
    session.prompt(60)
    assert session.run("uname -s") == "Linux"


@BOTH
def test_shell_disk_reboot_power_off(session, disk):
    """One CPU: a shell, a file on the ext4 disk that outlives a reboot, power-off with statistics."""
    session.start(*linux("--disk", disk), timeout=300)
    session.expect("lamina-guest: /dev/vda is mounted on /mnt")
    session.shell()
    check_shell(session)
    assert session.run("nproc") == "1"
    # QEMU's clock is the host's, which may leave the emulation behind: Linux then tries a longer calibration.
    bad = "call trace|clocksource.*unstable|unchecked msr" + ("|tsc calibration failed" if session.machine == "bochs" else "")
    assert session.run(f"dmesg | grep -iE '{bad}'") == ""

    assert session.run("cat /mnt/hello.txt").startswith("This file is on the disk")
    assert session.run("dd if=/dev/urandom of=/mnt/data bs=64k count=32 2>/dev/null; sync; echo $?") == "0"
    assert session.run("dd if=/mnt/data of=/mnt/copy bs=4k oflag=direct 2>/dev/null; cmp /mnt/data /mnt/copy; echo $?") == "0"
    checksum = session.run("sha256sum /mnt/data")
    assert re.match(r"[0-9a-f]{64} ", checksum), checksum
    session.child.sendline("umount /mnt; reboot -f")
    session.expect(r"lamina: vm guest: reset by the guest", 60)

    session.expect("lamina-guest: /dev/vda is mounted on /mnt")
    session.shell()
    assert session.run("sha256sum /mnt/data") == checksum
    assert session.run("cmp /mnt/data /mnt/copy; echo $?") == "0"
    session.child.sendline("exit")      # init unmounts and powers off
    assert session.end() == 0
    check_power_off(session)


@BOTH
def test_typing_long_lines(session):
    """Lines at the speed of the serial line, each many times what its FIFOs hold: interrupts of the host's come in the midst of the guest's."""
    session.start(*linux(), timeout=300)
    session.shell()
    for number in range(25):
        line = f"{number:04} " + " ".join(letter * 25 for letter in "abcd")
        assert session.run(f"echo {line}", 60) == line
    session.child.sendline("poweroff -f")
    assert session.end() == 0


@BOTH
def test_two_cpus(session, disk):
    """Two cores, two guest CPUs."""
    session.start(*linux("--disk", disk, "--cpus", "2", "--host-cpus", "2"), timeout=600)
    session.expect("lamina-guest: ready")
    session.shell()
    check_shell(session)
    assert session.run("nproc") == "2"
    # Work on both, with wake-ups across.
    assert session.run("for cpu in 0 1; do taskset $((cpu + 1)) sh -c 'echo on $(cut -d\" \" -f39 /proc/self/stat)'; done | sort") == "on 0\non 1"
    assert session.run("((sleep 1; echo one) & (sleep 1; echo two) & wait; echo joined)").endswith("joined")
    session.child.sendline("poweroff -f")
    assert session.end(300) == 0
    check_cores(session, 2)
    check_power_off(session)


def test_one_guest_cpu_on_two_cores(batch):
    """The second core comes up, says so, and stays out of the way; the guest powers itself off by its kernel's command line."""
    assert batch.run(*linux("--host-cpus", "2", cmdline="console=ttyS0 quiet lamina.run=poweroff"), timeout=600) == 0, batch.said
    check_power_off(batch)
    check_cores(batch, 2)


def test_every_way_of_reboot(batch, disk):
    """Triple fault, keyboard controller, port 0xcf9 and a kernel panic each reset the VM, which boots again each time."""
    ways = ["triple", "kbd", "pci", "panic"]
    status = batch.run(*linux("--disk", disk, cmdline=f"console=ttyS0 quiet panic=1 lamina.run=ways={':'.join(ways)}"), timeout=900)
    assert status == 0, batch.said
    assert re.findall(r"this boot ends by: (\w+)", batch.text) == ways + ["poweroff"]
    assert "Kernel panic - not syncing: Attempted to kill init!" in batch.text
    assert batch.count(r"lamina: vm guest: reset by the guest") == len(ways)
    check_power_off(batch)


def test_leaving_with_the_documented_key(session):
    session.start(*linux())
    session.expect("lamina: ", 120)
    assert session.leave() == 0


@BOTH
def test_a_mode_that_cannot_be_had_is_ignored_with_a_line(batch):
    assert batch.run(*linux("--set", "monitor.virtual_exec=software", "--until", "vm guest: Linux 64-bit boot protocol"),
                     timeout=120) == 0, batch.said
    for line in ("allowed modes          :", "user requested modes   :", "guestOS preferred modes:", "filtered list          :"):
        batch.require(re.escape("MONITOR MODE: " + line))
    batch.require(r"MONITOR MODE: ignored monitor\.virtual_exec")
