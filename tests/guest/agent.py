"""Runs in the guest: takes one request over a virtio port, runs its commands, sends back what they print.

A frame is a letter, a length and bytes. To the guest: P prepares for a snapshot, R runs. From it: H it is up,
D it is prepared, O output, X the end with the statuses, F a failure of the agent's own.
"""

import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import struct
import subprocess
import time

STAGE = "/srv/stage"
HOME = "/srv/keel"
RNDRESEEDCRNG = 0x5207
libc = ctypes.CDLL(None, use_errno=True)


def open_port():
    while True:
        for name in glob.glob("/sys/class/virtio-ports/*/name"):
            with open(name) as file:
                device = "/dev/" + name.split("/")[-2]
                if file.read().strip() == "keel" and os.path.exists(device):
                    return os.open(device, os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.05)


PORT = open_port()


def send(kind, data=b""):
    message = kind + struct.pack(">I", len(data)) + data
    while message:
        message = message[os.write(PORT, message):]


def read_exactly(count):
    data = b""
    while len(data) < count:
        part = os.read(PORT, count - len(data))
        if not part:
            time.sleep(0.01)
        data += part
    return data


def receive():
    kind, size = struct.unpack(">cI", read_exactly(5))
    return kind, read_exactly(size)


def quiet(command):
    return subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True).stdout.strip()


def prepare(request):
    """What no test shall wait for: modules, and the pages of the programs that tests use."""
    for module in request["modules"]:
        quiet("modprobe -q " + module)
    # The user whom tests/setup makes elsewhere.
    quiet("useradd --system --no-create-home --shell /usr/sbin/nologin keel-tests")
    quiet("usermod --add-subuids 2000000-2065535 --add-subgids 2000000-2065535 keel-tests")
    state = quiet("systemctl is-system-running --wait")
    for command in ("systemd-run -q --scope -p MemoryMax=50M true", "unshare -Urm true", "aa-status",
                    "systemctl start user@1000.service", "busybox true; mount; ps aux; ip link",
                    "apparmor_parser --version", "runc --version",
                    "runuser -u user -- env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user status"):
        quiet(command)
    os.sync()
    return {"state": state, "failed": quiet("systemctl --failed --no-legend --plain")}


def mount_stage():
    os.makedirs(STAGE, exist_ok=True)
    end = time.monotonic() + 120
    while libc.mount(b"stage", STAGE.encode(), b"virtiofs", ctypes.c_ulong(1), None):
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENODEV, errno.ENXIO) or time.monotonic() > end:
            raise OSError(code, os.strerror(code), STAGE)
        time.sleep(0.01)


def own_cgroup():
    with open("/proc/self/cgroup") as file:
        path = next(line[3:].strip() for line in file if line.startswith("0::"))
    return os.path.dirname("/sys/fs/cgroup" + path)


def enter_cgroup():
    with open(TOP + "/tests/cgroup.procs", "w") as file:
        file.write("0")
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")


TOP = own_cgroup()
os.makedirs(TOP + "/tests", exist_ok=True)


def run(request):
    time.clock_settime(time.CLOCK_REALTIME, request["time"])
    with open("/dev/urandom", "wb") as file:
        file.write(bytes.fromhex(request["entropy"]))
        fcntl.ioctl(file, RNDRESEEDCRNG)
    mount_stage()
    # Containers are made from the guest's own disk: links can be made there, and a user may enter it.
    shutil.copytree(STAGE, HOME, symlinks=True)
    os.makedirs(os.path.dirname(request["project"]), exist_ok=True)
    os.symlink(HOME, request["project"])
    environment = dict(os.environ, HOME="/root", USER="root", LANG="C.UTF-8", TMPDIR="/tmp", **request["env"])
    statuses = {}
    for name, argv in request["commands"]:
        send(b"O", f"\n== {name}\n".encode())
        process = subprocess.Popen(argv, cwd=HOME, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=enter_cgroup)
        while part := os.read(process.stdout.fileno(), 65536):
            send(b"O", part)
        statuses[name] = process.wait()
    return statuses


send(b"H")
while True:
    kind, data = receive()
    try:
        if kind == b"P":
            send(b"D", json.dumps(prepare(json.loads(data))).encode())
        elif kind == b"R":
            send(b"X", json.dumps(run(json.loads(data))).encode())
    except Exception as error:
        send(b"F", f"{type(error).__name__}: {error}".encode())
