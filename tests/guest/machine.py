"""One guest: QEMU with a snapshot or a fresh boot, its control socket, and the talk with the agent in it.

Whatever is started here dies with this program (PR_SET_PDEATHSIG), and is ended by its own process id.
"""

import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time

APPEND = ("console=ttyS0 quiet loglevel=4 root=/dev/vda rw panic=-1 mitigations=off nowatchdog apparmor=1 "
          "security=apparmor psi=1 net.ifnames=0 systemd.show_status=0 rcupdate.rcu_cpu_stall_suppress=1")
# Emulated: five levels of page tables and wide registers only cost time.
CPU = "max,la57=off,-avx,-avx2"
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


class Failed(Exception):
    """The guest does not do what it should."""


def die_with_parent():
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    def __init__(self, image, memory=1024, cpus=2):
        self.image, self.memory, self.cpus = image, memory, cpus
        self.children, self.inbox, self.console = [], b"", b""
        self.errors = open(os.memfd_create("guest-errors"), "w+b")

    def spawn(self, command, descriptors):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors,
                                 pass_fds=descriptors, preexec_fn=die_with_parent)
        self.children.append(child)

    def start(self, disk, initrd, writable, state=None):
        (self.control, a), (self.agent, b), (self.serial, c) = (socket.socketpair() for _ in range(3))
        numbers = [end.fileno() for end in (a, b, c)]
        drive = f"if=none,id=d0,file={disk},format=qcow2,cache=unsafe" + ("" if writable else ",snapshot=on")
        self.spawn(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                    "-accel", "tcg,thread=multi", "-cpu", CPU, "-machine", "pc,memory-backend=mem",
                    "-smp", str(self.cpus), "-m", str(self.memory),
                    "-object", f"memory-backend-memfd,id=mem,size={self.memory}M,share=on",
                    "-drive", drive, "-device", "virtio-blk-pci,drive=d0,addr=4",
                    "-device", "virtio-serial-pci,id=vs0,max_ports=2,addr=5",
                    "-chardev", f"socket,id=agent,fd={numbers[1]}",
                    "-device", "virtserialport,bus=vs0.0,nr=1,chardev=agent,name=keel",
                    "-chardev", f"socket,id=con,fd={numbers[2]}", "-serial", "chardev:con",
                    "-chardev", f"socket,id=qmp,fd={numbers[0]}", "-mon", "chardev=qmp,mode=control",
                    "-kernel", self.image + "/vmlinuz", "-initrd", initrd, "-append", APPEND,
                    *(["-incoming", "defer"] if state else []), "-S"], numbers)
        for end in (a, b, c):
            end.close()
        self.serial.setblocking(False)
        self.reader = self.control.makefile("rb")
        self.answer()
        self.command("qmp_capabilities")
        if state:
            self.mapped()
            self.command("migrate-incoming", uri="file:" + state)
            self.until(lambda: self.command("query-status")["status"] != "inmigrate")

    # The control socket.
    def answer(self):
        self.control.settimeout(120)
        while True:
            line = self.reader.readline()
            if not line:
                raise Failed("QEMU ended: " + self.complaint())
            message = json.loads(line)
            if "error" in message:
                raise Failed("QEMU: " + message["error"].get("desc", ""))
            if "return" in message or "QMP" in message:
                return message.get("return")

    def command(self, name, **arguments):
        self.control.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        return self.answer()

    def mapped(self):
        self.command("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": True}])

    def until(self, done, limit=300):
        end = time.monotonic() + limit
        while not done():
            if time.monotonic() > end:
                raise Failed("QEMU does not get there: " + self.complaint())
            time.sleep(0.02)

    def save(self, path):
        self.command("stop")
        self.mapped()
        self.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.command("migrate", uri="file:" + path)

        def done():
            status = self.command("query-migrate").get("status")
            if status == "failed":
                raise Failed("the snapshot cannot be saved: " + self.complaint())
            return status == "completed"

        self.until(done)

    def quit(self):
        self.control.sendall(b'{"execute": "quit"}\n')
        self.children[0].wait(60)

    def share(self, folder, virtiofsd):
        """Plugs in a folder, which the agent mounts by its tag."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0keel-guest-" + os.urandom(8).hex())
        listener.listen(1)
        new = "/libexec/" in virtiofsd
        words = ["--shared-dir", folder, "--cache", "auto"] if new else ["-o", f"source={folder}", "-o", "cache=auto"]
        self.spawn([virtiofsd, f"--fd={listener.fileno()}", *words], [listener.fileno()])
        end = socket.socket(socket.AF_UNIX)
        end.connect(listener.getsockname())
        listener.close()
        request = json.dumps({"execute": "getfd", "arguments": {"fdname": "fs"}}).encode() + b"\n"
        self.control.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", end.fileno()))])
        self.answer()
        end.close()
        address = {"type": "fd", "data": {"str": "fs"}}
        self.command("chardev-add", id="fs", backend={"type": "socket", "data": {"addr": address, "server": False}})
        self.command("device_add", driver="vhost-user-fs-pci", id="stage", chardev="fs", tag="stage")

    # The agent.
    def send(self, kind, value):
        data = json.dumps(value).encode()
        self.agent.sendall(kind + struct.pack(">I", len(data)) + data)

    def frame(self, end):
        """The agent's next frame; `end` is the time at which there has to be one."""
        while True:
            if len(self.inbox) >= 5:
                kind, size = struct.unpack(">cI", self.inbox[:5])
                if len(self.inbox) >= 5 + size:
                    data, self.inbox = self.inbox[5:5 + size], self.inbox[5 + size:]
                    if kind == b"F":
                        raise Failed("in the guest: " + data.decode())
                    return kind, data
            left = end - time.monotonic()
            ready = select.select([self.agent, self.serial], [], [], max(0, left))[0] if left > 0 else []
            if not ready:
                raise Failed("nothing more from the guest in time")
            if self.serial in ready:
                self.console = (self.console + (self.serial.recv(65536) or b""))[-8192:]
            if self.agent in ready:
                part = self.agent.recv(1 << 20)
                if not part:
                    raise Failed("the guest stopped: " + self.complaint())
                self.inbox += part

    def complaint(self):
        self.errors.seek(0)
        return (self.errors.read() + self.console[-2000:]).decode(errors="replace").strip()

    def processor_seconds(self):
        """What QEMU and virtiofsd have used."""
        total = 0
        for child in self.children:
            try:
                with open(f"/proc/{child.pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return total / os.sysconf("SC_CLK_TCK")

    def stop(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.kill()
        for child in self.children:
            child.wait()
