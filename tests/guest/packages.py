"""What the host needs to run a guest: QEMU 10, virtiofsd, and the programs that make an image.

QEMU 7.2, which Debian 12 has, breaks newer kernels when it emulates them; its backports have version 10, and no
virtiofsd, which is taken out of 7.2's package.
"""

import os
import re
import shutil
import subprocess
import tempfile

from machine import Failed

QEMU_MIN = 10
# For one call of apt; the largest fetches and unpacks some 60 MB.
LIMIT_SECONDS = 1200
PROGRAMS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "xz": "xz-utils", "depmod": "kmod"}


def qemu_version():
    if not (shutil.which("qemu-system-x86_64") and shutil.which("qemu-img")):
        return ""
    output = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout
    return output.splitlines()[0] if output else ""


def qemu_is_good():
    found = re.search(r"version (\d+)\.", qemu_version())
    return bool(found) and int(found.group(1)) >= QEMU_MIN


def virtiofsd(cache):
    places = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", cache + "/virtiofsd")
    return next((place for place in places if os.access(place, os.X_OK)), None)


def codename():
    with open("/etc/os-release") as file:
        return dict(line.strip().split("=", 1) for line in file if "=" in line).get("VERSION_CODENAME", "").strip('"')


def sources():
    """(address, suite) of each source of this machine's own apt."""
    output = subprocess.run(["apt-get", "update", "--print-uris"], capture_output=True, text=True).stdout
    return re.findall(r"^'([^']+)/dists/([^/']+)/InRelease'", output, re.M)


def mirror():
    """The address of the Debian archive, which serves the other suites too."""
    found = next((address for address, suite in sources() if suite == codename()), None)
    if not found:
        raise Failed(f"apt has no source of Debian {codename() or '(of no name)'}")
    return found


def install(cache):
    wanted = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    wanted += [] if qemu_is_good() else ["qemu-system-x86", "qemu-utils"]
    old = codename() == "bookworm"
    wanted += [] if old or virtiofsd(cache) else ["virtiofsd"]
    if not wanted and virtiofsd(cache):
        return
    print("guest: installing " + (" ".join(wanted) or "virtiofsd"), flush=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        # Lists and archives of its own: another apt on this machine may hold or empty the usual ones.
        for name in ("lists/partial", "archives/partial", "empty"):
            os.makedirs(f"{folder}/{name}")
        lines = [f"deb {address} {suite} main" for address, suite in sources() if suite.startswith(codename())]
        if old:
            lines.append(f"deb {mirror()} {codename()}-backports main")
        with open(folder + "/sources.list", "w") as file:
            file.write("\n".join(lines) + "\n")
        options = {"Dir::Etc::SourceList": "sources.list", "Dir::Etc::SourceParts": "empty",
                   "Dir::State::Lists": "lists", "Dir::Cache::Archives": "archives"}
        words = [f"-o{key}={folder}/{value}" for key, value in options.items()]
        words += ["-oAPT::Sandbox::User=root", "-oAcquire::Retries=3", "-oDPkg::Lock::Timeout=600"]
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")

        def apt(*arguments):
            subprocess.run(["apt-get", "-qq", *words, *arguments], check=True, env=environment, cwd=folder,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=LIMIT_SECONDS)

        apt("update")
        if wanted:
            apt(*(["-t", codename() + "-backports"] if old else []), "install", "-y",
                "--no-install-recommends", *wanted)
        if not virtiofsd(cache):
            apt("download", "qemu-system-common/" + codename())
            package = next(name for name in os.listdir(folder) if name.endswith(".deb"))
            subprocess.run(["dpkg-deb", "-x", package, "x"], check=True, cwd=folder)
            shutil.move(folder + "/x/usr/lib/qemu/virtiofsd", cache + "/virtiofsd")
