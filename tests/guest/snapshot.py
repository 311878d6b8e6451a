"""A guest that has booted: its disk, its initramfs and its memory, made once for each text of what is in it."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time

import image
import packages
from machine import APPEND, CPU, Failed, Machine

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = "overlay loop veth bridge dummy nf_tables ip_tables bfq".split()
LINKS = "sh mount umount insmod sleep mkdir cp ln poweroff switch_root [".split()
BOOT_SECONDS = 600


def archive(entries):
    """An initramfs: cpio, newc."""
    out = bytearray()
    for number, (name, mode, data, major, minor) in enumerate([*entries, ("TRAILER!!!", 0, b"", 0, 0)], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(path), 0)
        for part in (b"070701" + b"".join(b"%08x" % field for field in fields) + path, data):
            out += part
            out += b"\0" * (-len(out) % 4)
    return bytes(out)


def initramfs(folder):
    def text(path):
        with open(path, "rb") as file:
            return file.read()

    entries = [(name, 0o40755, b"", 0, 0) for name in ("bin", "dev", "proc", "root")]
    entries.append(("bin/busybox", 0o100755, text(folder + "/busybox"), 0, 0))
    entries += [("bin/" + name, 0o120777, b"busybox", 0, 0) for name in LINKS]
    entries.append(("dev/console", 0o20600, b"", 5, 1))
    entries.append(("init", 0o100755, text(HERE + "/init"), 0, 0))
    entries += [(name, 0o100644, text(f"{HERE}/{name}"), 0, 0) for name in ("agent.py", "keel-agent.service")]
    entries.append(("virtio_blk.ko", 0o100644, text(folder + "/virtio_blk.ko"), 0, 0))
    return archive(entries)


def key(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def boot(folder, snapshot):
    print("guest: booting once for the snapshot", flush=True)
    work = snapshot + ".new"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    with open(work + "/initrd", "wb") as file:
        file.write(initramfs(folder))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", folder + "/root.img",
                    work + "/disk"], check=True)
    guest = Machine(folder)
    try:
        guest.start(work + "/disk", work + "/initrd", True)
        guest.command("cont")
        end = time.monotonic() + BOOT_SECONDS
        guest.frame(end)
        guest.send(b"P", {"modules": MODULES})
        report = json.loads(guest.frame(end)[1])
        if report["state"] not in ("running", "degraded"):
            raise Failed(f"its systemd says {report}")
        guest.save(work + "/memory")
        guest.quit()
    finally:
        guest.stop()
    os.rename(work, snapshot)


def ready(cache):
    """The folders of an image and of a snapshot, which are made where they are missing."""
    os.makedirs(cache, exist_ok=True)
    with open(cache + "/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages.install(cache)
        folder = f"{cache}/image-" + key(image.RECIPE, image.SUITE, image.KERNEL, *image.PACKAGES)
        if not os.path.isdir(folder):
            image.build(folder)
        parts = [packages.qemu_version(), APPEND, CPU, *MODULES]
        for name in ("init", "agent.py", "keel-agent.service"):
            with open(f"{HERE}/{name}") as file:
                parts.append(file.read())
        snapshot = f"{cache}/snapshot-" + key(folder, *parts)
        if not os.path.isdir(snapshot):
            boot(folder, snapshot)
    return folder, snapshot
