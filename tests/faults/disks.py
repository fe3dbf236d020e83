# SPDX-License-Identifier: Apache-2.0
"""A member's disk: a file system of its own in a file, which can be full, slow, failing, or lose its power."""
import errno
import fcntl
import os
import stat
import struct
import subprocess

SIZE_MIB = 384
EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2                # what was not synced is gone


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def ensure_loop_device():
    """The kernel numbers a new loop device when the free ones have run out; its node may be missing."""
    free = run("losetup", "--find").strip()
    if not os.path.exists(free):
        os.mknod(free, 0o600 | stat.S_IFBLK, os.makedev(7, int(free.removeprefix("/dev/loop"))))


class Disk:
    def __init__(self, folder, slot, group):
        self.image = os.path.join(folder, f"disk{slot}.img")
        self.path = os.path.join(folder, f"disk{slot}")
        self.group = group      # control group of who writes there; None: there is none
        self.balloon = os.path.join(self.path, "balloon")
        os.makedirs(self.path, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(SIZE_MIB << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=8", self.image)
        self.mount()
        if group:
            os.makedirs(group, exist_ok=True)

    def mount(self):
        ensure_loop_device()
        run("mount", "-o", "loop", self.image, self.path)

    def stop(self):
        """No more reads or writes; what was not synced will not be there."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def again(self):
        """After stop, when nobody uses it any more."""
        run("umount", self.path)
        self.mount()

    def fill(self):
        """To the last block."""
        free = os.statvfs(self.path)
        offset, size = 0, free.f_bavail * free.f_frsize
        with open(self.balloon, "wb") as file:
            while size >= free.f_frsize:
                try:
                    os.posix_fallocate(file.fileno(), offset, size)
                    offset += size
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def empty(self):
        """For good: what is removed and not synced is there again after a power loss."""
        os.unlink(self.balloon)
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def enter(self):
        """What stands before a command whose writes shall be counted."""
        return ["sh", "-c", f"echo 0 >{self.group}/cgroup.procs; exec \"$@\"", "sh"] if self.group else []

    def throttle(self, writes_per_second):
        """0: as fast as it can."""
        device = os.stat(self.path).st_dev
        with open(os.path.join(self.group, "blkio.throttle.write_iops_device"), "w", encoding="utf-8") as file:
            file.write(f"{os.major(device)}:{os.minor(device)} {writes_per_second}")
