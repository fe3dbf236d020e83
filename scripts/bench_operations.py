# SPDX-License-Identifier: Apache-2.0
"""How long the steps of docs/operations.md take with a store of a gigabyte: a backup and a new cluster of it, the loss of two
members of three. Trivet alone."""
import os
import shutil
import subprocess
import time

from bench_cluster import Cluster, run_bench, say, wait_until
from bench_upkeep import ENVIRONMENT, Load, etcdctl_command, run, until_answers, until_equal

PUTS_RATE = 1000  # while a backup is taken


class Operator:
    """Does the steps, as the page says them, and notes how long each took."""

    def __init__(self, options):
        self.options = options
        self.keys = options.operations_keys
        self.cluster = Cluster(options.trivetd, options.folder)
        self.backup = f"{options.folder}/today.db"
        self.lines = ["| step | took |", "|---|---:|"]

    def note(self, step, seconds, more=""):
        say(f"  {step}: {seconds:.2f} s")
        self.lines.append(f"| {step} | {seconds:.1f} s{more} |")

    def tool(self, *arguments):
        return run([self.options.backup, *arguments])[1]

    def peer(self, number):
        return f"m{number}=http://127.0.0.1:{self.cluster.port + 2 * number - 1}"

    def remove(self, *numbers):
        for number in numbers:
            shutil.rmtree(self.cluster.data(number))

    def first_put(self, began):
        return until_answers(self.options, self.cluster.endpoint(1), ("range", "put"), self.keys) - began

    def take_backup(self):
        load = Load(self.options, self.cluster.endpoints, "put", 64, PUTS_RATE, self.keys)
        time.sleep(1)
        took = self.tool("save", "--quiet", "--endpoints", self.cluster.endpoint(1), self.backup)
        p99 = load.end()["p99_us"] / 1000
        size = os.stat(self.backup).st_size / (1 << 20)
        self.note(f"`trivet-backup save` of {size:,.0f} MiB, beside {PUTS_RATE:,} puts/s (their p99: {p99:.0f} ms)", took,
                  f", {size / took:,.0f} MiB/s")
        self.note("`trivet-backup verify`", self.tool("verify", "--quiet", self.backup))

    def restore(self):
        self.cluster.take_down("stop", *self.cluster.members)
        everyone = ",".join(self.peer(number) for number in self.cluster.members)
        for number in self.cluster.members:
            os.rename(self.cluster.data(number), self.cluster.data(number) + ".before")
            took = self.tool("restore", "--quiet", self.backup, "--name", f"m{number}", "--data-dir", self.cluster.data(number),
                             "--initial-cluster-token", self.cluster.token(), "--initial-cluster", everyone,
                             "--initial-advertise-peer-urls", self.peer(number).split("=")[1])
        self.note("`trivet-backup restore`, on each machine", took)
        self.note("start of the new cluster, until it has answered a get and a put",
                  self.first_put(self.cluster.restart(*self.cluster.members)))
        until_equal(self.cluster)
        self.cluster.take_down("stop", *self.cluster.members)
        self.remove(*self.cluster.members)
        for number in self.cluster.members:
            os.rename(self.cluster.data(number) + ".before", self.cluster.data(number))

    def lose_two(self):
        self.cluster.restart(*self.cluster.members)
        until_equal(self.cluster)
        self.cluster.take_down("kill", *self.cluster.members)
        self.remove(2, 3)

    def recover(self):
        left = self.cluster.data(1)
        shutil.copytree(left, left + ".copy")
        self.note("two of three lost: `trivet-backup recover`, which tells", self.tool("recover", left))
        self.note("`trivet-backup recover --yes`", self.tool("recover", "--yes", left))
        self.note("start of that member, until it has answered a get and a put", self.first_put(self.cluster.restart(1)))
        there = [self.peer(1)]
        for number in (2, 3):
            there.append(self.peer(number))
            self.add(number)
            began = self.cluster.restart(number, flags=["--initial-cluster-state=existing", "--initial-cluster=" + ",".join(there)])
            wanted = self.cluster.revision(1)
            at = wait_until(lambda number=number, wanted=wanted: self.cluster.revision(number) >= wanted, "a new member that has all")
            self.note(f"start of m{number}, added by `etcdctl member add`, until it has everything", at - began)
            until_answers(self.options, self.cluster.endpoint(number), ("range", "put"), self.keys)
        self.cluster.take_down("kill", *self.cluster.members)
        self.remove(*self.cluster.members)
        os.rename(left + ".copy", left)

    def add(self, number):
        """Refused for some seconds after the one before, until that has been connected for long enough."""
        command = etcdctl_command(self.options, self.cluster.endpoint(1), "member", "add", f"m{number}",
                                  "--peer-urls=" + self.peer(number).split("=")[1])
        wait_until(lambda: subprocess.run(command, env=ENVIRONMENT, capture_output=True).returncode == 0, "a member that is added", 0.5)

    def force(self):
        self.note("or `trivetd --force-new-cluster`, until it has answered a get and a put",
                  self.first_put(self.cluster.restart(1, flags=["--force-new-cluster"])))


def measure(options):
    say(f"trivet: what an operator does, with {options.operations_keys:,} keys")
    operator = Operator(options)
    try:
        run_bench(options, operator.cluster, "load", 256, ["--keys", str(operator.keys)])
        until_equal(operator.cluster)
        for step in (operator.take_backup, operator.restore, operator.lose_two, operator.recover, operator.force):
            step()
        return {"lines": operator.lines}
    finally:
        operator.cluster.stop()
