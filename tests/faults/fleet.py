# SPDX-License-Identifier: Apache-2.0
"""The members of a run: each in a network and on a disk of its own, with a clock that can be set; as far as the machine
allows. What it does not allow is told in `missing`, and no fault needs it then.
"""
import glob
import os
import random
import subprocess

from cluster.members import Members, SLOTS

import disks
import network
import sandbox

FLAGS = ["--heartbeat-interval=50", "--election-timeout=500", "--quota-backend-bytes=-1", "--snapshot-count=500",
         "--snapshot-catchup-entries=500", "--corrupt-check-time=2s"]
SPARE_SLOTS = 2
# What each group of faults, or kind, cannot do without.
NEEDS = {"partition": "network", "delay": "network", "loss": "network", "corrupt": "network", "disk": "disk", "power": "disk",
         "clock": "clock", "disk-slow": "control group", "backup": "trivet-backup"}


def faketime():
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return found[0] if found else None


def is_sanitized(binary):
    """libfaketime does not go with them."""
    done = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    return any(name in done.stdout for name in ("libasan", "libtsan", "libubsan"))


class Fleet(Members):
    def __init__(self, run, no_sandbox):
        options = run.options
        self.run = run
        self.missing = {}       # what NEEDS names -> why
        self.network = None
        self.disks = []
        self.members_at_most = options.members + SPARE_SLOTS
        super().__init__(options.dir, options.binary, FLAGS + options.flags, run.violation)
        self.net_seed = random.Random(f"{options.seed} network").getrandbits(63)
        self.make_network(options.switch, no_sandbox)
        self.make_disks(no_sandbox)
        self.preload = faketime()
        if self.preload is None:
            self.missing["clock"] = "libfaketime is not installed (Debian: faketime)"
        elif is_sanitized(options.binary):
            self.missing["clock"] = "libfaketime does not go with sanitizers"
        if options.backup_program is None:
            self.missing["trivet-backup"] = "it is not beside the server"

    # ---- what the machine allows ----

    def make_network(self, switch, no_sandbox):
        if no_sandbox:
            self.missing["network"] = f"no namespaces: {no_sandbox}"
        elif not os.access(switch, os.X_OK):
            self.missing["network"] = f"there is no {switch}"
        elif not os.access("/dev/net/tun", os.W_OK):
            self.missing["network"] = "/dev/net/tun cannot be used"
        else:
            self.network = network.Network(switch, self.members_at_most, self.net_seed)

    def make_disks(self, no_sandbox):
        group = None
        if no_sandbox:
            self.missing["disk"] = self.missing["control group"] = f"no namespaces: {no_sandbox}"
            return
        if os.access(os.path.join(sandbox.BLKIO, "blkio.throttle.write_iops_device"), os.W_OK):
            group = os.path.join(sandbox.BLKIO, f"{sandbox.PREFIX}{self.run.options.outside_pid}.")
        else:
            self.missing["control group"] = f"no writable {sandbox.BLKIO}"
        try:
            for slot in range(self.members_at_most):
                self.disks.append(disks.Disk(self.folder, slot, group and f"{group}{slot}"))
        except OSError as error:
            self.disks = []
            self.missing["disk"] = self.missing["control group"] = str(error)

    def why_not(self, kind):
        """Why this machine cannot do a fault; None: it can."""
        for name in (kind, kind.split("-")[0]):
            if NEEDS.get(name) in self.missing:
                return f"{NEEDS[name]}: {self.missing[NEEDS[name]]}"
        return None

    # ---- members ----

    def addresses(self, slot):
        if self.network is None:
            return super().addresses(slot)
        host = self.network.host(slot)
        return f"{host}:2379", f"http://{host}:2380"

    def new_member(self):
        member = super().new_member()
        if self.disks:
            member.data = os.path.join(self.disk(member).path, member.name)
        member.clock = os.path.join(self.folder, member.name + ".clock")
        self.set_clock(member, 0)
        return member

    def disk(self, member):
        return self.disks[member.slot]

    def clock_settings(self, member):
        """The clock is looked at once a second: reading the file on every call would make it another program."""
        if "clock" in self.missing or not self.run.options.with_clock:
            return []
        return ["env", "LD_PRELOAD=" + self.preload, "FAKETIME_TIMESTAMP_FILE=" + member.clock, "FAKETIME_CACHE_DURATION=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_RESET=1"]

    def command(self, member):
        before = self.network.enter(member.slot) if self.network else []
        before = before + (self.disk(member).enter() if self.disks else [])
        return before + self.clock_settings(member) + super().command(member)

    def set_clock(self, member, seconds):
        """So much before or behind. A new file in one step: it is read at any time."""
        with open(member.clock + ".new", "w", encoding="utf-8") as file:
            file.write(f"{seconds:+.3f}\n")
        os.rename(member.clock + ".new", member.clock)

    def slots(self):
        return sorted(m.slot for m in self.all)

    def name_of(self, slot):
        return next((m.name for m in self.all if m.slot == slot), f"slot{slot}")

    def restored_addresses(self):
        """For a cluster that was restored: in the run's own network, else behind the members' ports."""
        if self.network is None:
            return super().addresses(SLOTS)
        return "127.0.0.1:2379", "http://127.0.0.1:2380"

    def client_endpoints(self):
        """Of all that may ever be members."""
        return ",".join(self.addresses(slot)[0] for slot in range(self.members_at_most))
