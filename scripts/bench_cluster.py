# SPDX-License-Identifier: Apache-2.0
"""What the parts of scripts/bench have in common: a cluster of etcd or Trivet, the load on it, and the machine below it."""
import http.client
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
MEMBERS = 3
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 300  # for what must come


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    say(f"bench: {text}")
    sys.exit(1)


def free_ports(count):
    """A port such that it and the next ones are free, below those that the kernel gives away."""
    for _ in range(100):
        first = random.randrange(10000, 32000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            pass
    fail("no free ports")


class Cluster:
    """Members of one kind, started by scripts/cluster, which gives both the same flags. Members have numbers from 1 on."""

    def __init__(self, binary, folder, members=MEMBERS, flags=()):
        self.folder = tempfile.mkdtemp(dir=folder)
        self.members = range(1, members + 1)
        self.port = free_ports(2 * members)
        self.command = [f"{TOP}/scripts/cluster", "--dir", self.folder, "--binary", binary, "--client-port", str(self.port), "--step", "2"]
        self.pids = {}  # of those that run, by number
        started = subprocess.run(self.command + ["start", str(members), "--", *flags], capture_output=True, text=True)
        if started.returncode != 0:
            self.stop()
            fail(f"{binary} does not start: {started.stderr}")
        self.endpoints = started.stdout.strip()
        self.note_pids(self.members)

    def note_pids(self, numbers):
        for number in numbers:
            with open(f"{self.folder}/m{number}.pid", encoding="ascii") as file:
                self.pids[number] = int(file.read())

    def stop(self):
        subprocess.run(self.command + ["wipe"], stdout=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def endpoint(self, number):
        return f"127.0.0.1:{self.port + 2 * (number - 1)}"

    def data(self, number):
        return f"{self.folder}/m{number}"

    def token(self):
        with open(f"{self.folder}/token", encoding="ascii") as file:
            return file.read().strip()

    def take_down(self, how, *numbers):
        """HOW is "stop" (SIGTERM) or "kill" (SIGKILL); all at once."""
        self.each(how, numbers)
        for number in numbers:
            del self.pids[number]

    def restart(self, *numbers, flags=()):
        """Starts them, all at once; the time at which the first was."""
        self.each("restart", numbers, "--", *flags)
        self.note_pids(numbers)
        return min(os.stat(f"{self.folder}/m{number}.pid").st_mtime for number in numbers)

    def each(self, what, numbers, *more):
        running = [subprocess.Popen(self.command + [what, str(number), *more]) for number in numbers]
        if any([process.wait() != 0 for process in running]):
            fail(f"{what} {numbers} failed")

    def metrics(self, number):
        """What the member tells of itself, by name with labels; {}: it tells nothing yet."""
        connection = http.client.HTTPConnection(self.endpoint(number), timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))}

    def revision(self, number):
        return self.metrics(number).get("etcd_debugging_mvcc_current_revision", 0)

    def leader(self):
        return next((number for number in self.members if self.metrics(number).get("etcd_server_is_leader") == 1), 1)

    def cpu_seconds(self):
        total = 0
        for pid in self.pids.values():
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
        return total

    def memory(self, name):
        """VmRSS or VmHWM of the largest member, in MiB."""
        most = 0
        for pid in self.pids.values():
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                for line in file:
                    if line.startswith(name + ":"):
                        most = max(most, int(line.split()[1]) / 1024)
        return most


def wait_until(holds, what, pause_seconds=0.01):
    """The time at which it was seen to hold."""
    end = time.time() + PATIENCE_SECONDS
    while time.time() < end:
        if holds():
            return time.time()
        time.sleep(pause_seconds)
    fail(f"waited in vain: {what}")


def bench_command(options, endpoints, workload, clients, more):
    return [options.bench, "--endpoints", endpoints, "--clients", str(clients), "--connections", str(min(clients, options.connections)),
            "--value-size", str(options.value_size), "--json", *more, workload]


def run_bench(options, cluster, workload, clients, more, endpoints=None):
    """One run of trivet-bench: its report, and what the members used meanwhile."""
    command = bench_command(options, endpoints or cluster.endpoints, workload, clients, more)
    before = cluster.cpu_seconds()
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        fail(f"failed: {' '.join(command)}\n{run.stdout}")
    report = json.loads(run.stdout)
    report["server_cpu_seconds"] = cluster.cpu_seconds() - before
    report["command"] = command
    if report["errors"]:
        say(f"  errors: {report['errors']}: {report['last_error']}")
    return report


class Samples(threading.Thread):
    """What the members use, four times a second, with the time of the clock that trivet-bench has, too."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.taken = []
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.25):
            self.taken.append((time.monotonic(), self.cluster.memory("VmRSS"), self.cluster.cpu_seconds()))

    def end(self):
        self.over.set()
        self.join()
        return self.taken


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // (1 << 20)
    return f"{os.cpu_count()} x {model}, {memory} GiB, Linux {platform.release()}"


def filesystem(folder):
    found = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def version(binary):
    found = subprocess.run([binary, "--version"], capture_output=True, text=True)
    return ", ".join(found.stdout.splitlines()[:2]) or "unknown version"


def verdict(ratio, floor, at_most=False):
    if floor is None:
        return ""
    good = ratio <= floor if at_most else ratio >= floor
    return f"{floor:g}x {'' if good else '**missed**'}".strip()
