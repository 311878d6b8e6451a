"""The guest's disk and kernel: Debian with systemd, AppArmor and runc, made once by mmdebstrap."""

import os
import shutil
import subprocess
import tempfile

import packages

SUITE = "trixie"
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("systemd systemd-sysv dbus dbus-user-session libpam-systemd apparmor apparmor-utils iproute2 iptables "
            "procps python3-minimal python3 ca-certificates kmod uidmap busybox-static runc crun strace jq").split()
# What takes time at every boot and no test needs.
MASKED = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer
e2scrub_reap.service man-db.timer logrotate.timer systemd-tmpfiles-clean.timer tmp.mount getty@tty1.service
getty.target serial-getty@ttyS0.service systemd-pstore.service systemd-firstboot.service
systemd-timesyncd.service systemd-random-seed.service systemd-hwdb-update.service
systemd-journal-catalog-update.service ldconfig.service remote-fs.target systemd-udev-trigger.service
systemd-network-generator.service console-getty.service systemd-update-utmp.service modprobe@.service
systemd-remount-fs.service systemd-binfmt.service systemd-modules-load.service systemd-sysusers.service
systemd-update-done.service systemd-journal-flush.service systemd-hostnamed.socket""".split()
PROFILES_KEPT = {"lsb_release", "runc", "crun", "unix-chkpwd"}
RECIPE = "1"
# For making the image, on a busy machine.
LIMIT_SECONDS = 1800
SCRIPT = r"""#!/bin/sh
# Fetches the kernel's package without installing it: the guest needs no initramfs of its own.
set -eu
cd "$2"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends --no-recommends --no-suggests "$3" | awk '$2 ~ /^linux-image-/ { print $2; exit }')
apt-get -qq -o APT::Sandbox::User=root download "${package:-$3}"
"""


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def settle(root):
    """Settings of the guest that no package brings: a user with a session, and a quick boot."""
    write(root + "/etc/hostname", "guest\n")
    write(root + "/etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n")
    write(root + "/etc/fstab", "")
    write(root + "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    for command in (["passwd", "-q", "-d", "root"], ["useradd", "-m", "-u", "1000", "-s", "/bin/bash", "user"]):
        subprocess.run(["chroot", root, *command], check=True)
    for name in ("subuid", "subgid"):
        write(f"{root}/etc/{name}", "user:100000:65536\n")
    write(root + "/var/lib/systemd/linger/user", "")
    units = root + "/etc/systemd/system/"
    write(units + "user@.service.d/delegate.conf", "[Service]\nDelegate=cpu cpuset io memory pids\n")
    write(root + "/etc/systemd/journald.conf.d/tests.conf", "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n")
    write(root + "/etc/systemd/system.conf.d/tests.conf",
          "[Manager]\nDefaultTimeoutStartSec=300s\nDefaultDeviceTimeoutSec=300s\n")
    for unit in MASKED:
        if os.path.lexists(units + unit):
            os.remove(units + unit)
        os.symlink("/dev/null", units + unit)
    os.makedirs(root + "/etc/systemd/system-generators", exist_ok=True)
    for name in ("getty", "gpt-auto", "hibernate-resume", "rc-local", "run", "ssh", "system-update", "sysv", "tpm2"):
        os.symlink("/dev/null", f"{root}/etc/systemd/system-generators/systemd-{name}-generator")
    profiles = root + "/etc/apparmor.d"
    for entry in os.scandir(profiles):
        if entry.is_file() and entry.name not in PROFILES_KEPT:
            os.remove(entry.path)
    os.chmod(root + "/tmp", 0o1777)


def build(folder):
    """Makes `folder` with root.img, vmlinuz, busybox and virtio_blk.ko."""
    print(f"guest: making the image (once; Debian {SUITE})", flush=True)
    address = packages.mirror()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as work:
        root, kernel = work + "/root", work + "/kernel"
        os.makedirs(kernel)
        write(work + "/hook", SCRIPT)
        os.chmod(work + "/hook", 0o755)
        options = ["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\"",
                   "--aptopt=Acquire::Retries \"3\"", "--dpkgopt=force-unsafe-io"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc", "info")]
        hook = f"--customize-hook='{work}/hook' \"$1\" '{kernel}' '{KERNEL}'"
        line = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {address} {SUITE} main"
        subprocess.run(["mmdebstrap", "-q", "--mode=root", "--variant=minbase", "--format=directory", *options,
                        "--include=" + ",".join(PACKAGES), hook, SUITE, root, line],
                       check=True, stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS)
        package = next(name for name in os.listdir(kernel) if name.endswith(".deb"))
        subprocess.run(["dpkg-deb", "-x", package, "x"], check=True, cwd=kernel)
        image = next(name for name in os.listdir(kernel + "/x/boot") if name.startswith("vmlinuz-"))
        version = image.removeprefix("vmlinuz-")
        tree = kernel + "/x/usr" if os.path.isdir(kernel + "/x/usr/lib/modules") else kernel + "/x"
        modules = f"{root}/usr/lib/modules/{version}"
        shutil.move(f"{tree}/lib/modules/{version}", modules)
        subprocess.run(["depmod", "-b", root, version], check=True)
        settle(root)
        new = folder + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(new)
        shutil.copy(f"{kernel}/x/boot/{image}", new + "/vmlinuz")
        shutil.copy(root + "/usr/bin/busybox", new + "/busybox")
        driver = next(name for name in os.listdir(modules + "/kernel/drivers/block") if name.startswith("virtio_blk.ko"))
        with open(new + "/virtio_blk.ko", "wb") as file:
            path = f"{modules}/kernel/drivers/block/{driver}"
            reader = ["xz", "-dc"] if driver.endswith(".xz") else ["cat"]
            subprocess.run([*reader, path], check=True, stdout=file)
        subprocess.run(["truncate", "-s", "8G", new + "/root.img"], check=True)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-E",
                        "lazy_itable_init=1,root_owner=0:0,nodiscard", "-I", "256", "-m", "0", "-d", root,
                        new + "/root.img"], check=True, stdout=subprocess.DEVNULL)
        os.rename(new, folder)
