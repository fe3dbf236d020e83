# SPDX-License-Identifier: Apache-2.0
"""A run's own namespaces of processes, mounts and networks: when it ends, however it ends, the kernel takes down its
processes, its mounts with their loop devices, and its networks. What is left is a folder and control groups, which the
process that waits outside removes, or the next run when that one was killed, too.
"""
import ctypes
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
BLKIO = "/sys/fs/cgroup/blkio"
PREFIX = "trivet-faults."


def started_at(pid):
    """When the process was started, in ticks since boot; None: there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def own_mark():
    return f"{os.getpid()} {started_at(os.getpid())}"


def lives(mark):
    pid, _, started = mark.partition(" ")
    return pid.isdigit() and started_at(pid) == started


def sweep():
    """Remove what runs have left that nobody can have wanted to keep."""
    for folder in glob.glob(os.path.join(tempfile.gettempdir(), PREFIX + "*")):
        try:
            with open(os.path.join(folder, "owner"), encoding="utf-8") as file:
                mark = file.read()
        except OSError:
            continue
        if not lives(mark) and not os.path.exists(os.path.join(folder, "kept")):
            shutil.rmtree(folder, ignore_errors=True)
    for group in glob.glob(os.path.join(BLKIO, PREFIX + "*")):
        pid = os.path.basename(group).split(".")[1]
        if started_at(pid) is None:
            remove_groups(pid)


def remove_groups(pid):
    for group in glob.glob(os.path.join(BLKIO, f"{PREFIX}{pid}.*")):
        try:
            os.rmdir(group)
        except OSError:
            pass  # still in use: the next sweep


def make_folder(given):
    folder = os.path.abspath(given or tempfile.mkdtemp(prefix=PREFIX))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "owner"), "w", encoding="utf-8") as file:
        file.write(own_mark())
    return folder


def enter():
    """In the child: None, or why there are no namespaces. In the parent: does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0:
        return os.strerror(ctypes.get_errno())
    child = os.fork()
    if child:
        wait_outside(child)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for mount in (["--make-rprivate", "/"], ["-t", "proc", "proc", "/proc"]):
        done = subprocess.run(["mount", *mount], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"faults: mount {' '.join(mount)}: {done.stderr.strip()}")
    return None


def wait_outside(child):
    """Hand signals on, and end as the child ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: os.kill(child, got if got != signal.SIGINT else signal.SIGTERM))
    while True:
        try:
            _, status = os.waitpid(child, 0)
            break
        except InterruptedError:
            continue
    remove_groups(os.getpid())
    sys.stdout.flush()
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
