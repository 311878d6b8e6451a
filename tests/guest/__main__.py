"""Runs tests in a guest that has what this machine may lack: systemd, cgroup version 2 alone, AppArmor.

    python3 tests/guest                 # the chosen ones, about a hundred and fifty containers
    python3 tests/guest --all           # the whole contract and the attacks
    python3 tests/guest systemd mounts::binds_a_file

The test programs and release binaries have to be built. RUNTIME and KEEL_WITHOUT are handed on.
"""

import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import packages  # noqa: E402
import snapshot  # noqa: E402
from machine import Failed, Machine  # noqa: E402

PROJECT = os.path.realpath(os.path.dirname(os.path.abspath(__file__)) + "/../..")
CHOSEN = ["cgroup_v2", "update_v2", "systemd", "systemd_user", "apparmor", "cgroups", "features", "kill", "pause", "ps",
          "events", "shim_version_2"]
LIMIT_SECONDS = {False: 900, True: 5400}
HANDED_ON = ("RUNTIME", "KEEL_WITHOUT", "KEEL_TESTS_RACE_ROUNDS", "RUST_BACKTRACE")


def names_of_all():
    found = []
    for folder in ("contract", "security"):
        found += [name[:-3] for name in os.listdir(f"{PROJECT}/tests/{folder}") if name.endswith(".rs")]
    return sorted(found)


def built(names):
    """Test program → path, as cargo built it."""
    words = [word for name in names for word in ("--test", name)]
    output = subprocess.run(["cargo", "test", "--locked", "-q", "-p", "keel-tests", "--no-run",
                             "--message-format=json", *words], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    messages = [json.loads(line) for line in output.stdout.splitlines()]
    return {message["target"]["name"]: message["executable"] for message in messages
            if message.get("executable") and message["target"]["kind"] == ["test"]}


def stage(folder, programs):
    """What the guest gets: test programs without their debug information, release binaries, fixtures, criu."""
    shutil.rmtree(folder, ignore_errors=True)
    target = os.environ.get("CARGO_TARGET_DIR", PROJECT + "/target")
    deps = os.path.dirname(next(iter(programs.values())))
    release = os.path.dirname(os.path.dirname(deps)) + "/release"
    for name in ("target/debug/deps", "target/release", "target/fixtures", "target/tools"):
        os.makedirs(f"{folder}/{name}")
    for name, path in programs.items():
        subprocess.run(["strip", "-o", f"{folder}/target/debug/deps/{name}", path], check=True)
    for name in ("keel", "keel-probe", "greeter", "containerd-shim-keel-v2"):
        shutil.copy(f"{release}/{name}", folder + "/target/release/")
    for name in ("busybox", "busybox.tar"):
        shutil.copy(f"{target}/fixtures/{name}", folder + "/target/fixtures/")
    shutil.copytree(target + "/tools/criu", folder + "/target/tools/criu", symlinks=True)
    # What tests read of the repository.
    for name in ("tests/captures", "man", "runtime/src"):
        shutil.copytree(f"{PROJECT}/{name}", f"{folder}/{name}")
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)


def run(guest, commands, everything):
    environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    guest.send(b"R", {"time": time.time(), "entropy": os.urandom(64).hex(), "commands": commands,
                      "project": PROJECT, "env": environment})
    end = time.monotonic() + LIMIT_SECONDS[everything]
    while True:
        kind, data = guest.frame(end)
        if kind == b"X":
            return json.loads(data)
        if kind == b"O":
            sys.stdout.buffer.write(data)
            sys.stdout.flush()


def lacking():
    """Why this machine can have no guest; empty where it can."""
    if os.uname().machine != "x86_64":
        return "the guest is for x86_64 alone"
    if os.geteuid() != 0:
        return "only root can make the guest's image"
    if not shutil.which("apt-get"):
        return "the guest is made from Debian's packages, by apt-get"
    return ""


def skip(reason):
    line = f"SKIP guest: {reason}"
    print(line, flush=True)
    if path := os.environ.get("KEEL_TESTS_SKIPS"):
        with open(path, "a") as file:
            file.write(line + "\n")


def main(words):
    if reason := lacking():
        return skip(reason)
    everything = "--all" in words
    chosen = [word for word in words if not word.startswith("-")] or (names_of_all() if everything else CHOSEN)
    target = os.environ.get("CARGO_TARGET_DIR", PROJECT + "/target")
    cache = os.path.realpath(target) + "/guest"
    try:
        folder, saved = snapshot.ready(cache)
    except (Failed, subprocess.SubprocessError) as error:
        sys.exit(f"guest: it cannot be made: {error}")
    programs = built(sorted({word.split("::")[0] for word in chosen}))
    staged = f"{cache}/stage-{os.getpid()}"
    guest = Machine(folder)
    start = time.monotonic()
    try:
        stage(staged, programs)
        guest.start(saved + "/disk", saved + "/initrd", False, saved + "/memory")
        guest.share(staged, packages.virtiofsd(cache))
        guest.command("cont")
        commands = []
        for word in chosen:
            name, _, test = word.partition("::")
            argv = [f"target/debug/deps/{name}", "--test-threads=2", *([test] if test else [])]
            commands.append((word, argv))
        statuses = run(guest, commands, everything)
    except Failed as error:
        sys.exit(f"guest: {error}")
    finally:
        used = guest.processor_seconds()
        guest.stop()
        shutil.rmtree(staged, ignore_errors=True)
    bad = [name for name, status in statuses.items() if status != 0]
    print(f"guest: {len(statuses)} programs in {time.monotonic() - start:.0f} s, {used:.0f} s of processor time")
    if bad:
        sys.exit("guest: failed: " + " ".join(bad))


main(sys.argv[1:])
