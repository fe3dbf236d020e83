# SPDX-License-Identifier: Apache-2.0
"""The members of a cluster: processes that are started, killed, stopped and made to stand still, and who shall be a member.

Changes of members are asked for with etcdctl, as an operator does, again and again until the list says that they have
happened: an answer may be lost, and etcd's check wants members that have been connected for five seconds.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import grpc

from cluster import calls

PATIENCE_SECONDS = 120  # for what must come when a majority is up, however busy the machine is
REMOVED_STATUS = 0
LISTED_SECONDS = 10     # for one command; what has no answer by then is asked again
SLOTS = 16


class Gone(Exception):
    """What was waited for does not come any more: something is wrong, and has been told."""


class Member:
    """One place in the cluster: a slot has its addresses, a number is never used twice."""

    def __init__(self, folder, addresses, slot, number):
        self.slot = slot
        self.name = f"m{number}"
        self.client, self.peer = addresses
        self.data = os.path.join(folder, self.name)
        self.log = os.path.join(folder, self.name + ".log")
        self.calls = calls.Member(self.client)
        self.learner = False
        self.process = None
        self.up = False     # by our own doing; a member that stands still is not
        self.flags = []

    def __str__(self):
        return self.name

    def log_end(self):
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log) - 2000))
                return file.read().decode(errors="replace").strip().rsplit("\n", 1)[-1]
        except OSError as error:
            return str(error)

    def count_in_log(self, text):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return sum(text in line for line in file)


def free_ports(count):
    """The first of COUNT ports that nobody listens on, below the kernel's own choices."""
    for _ in range(100):
        first = random.SystemRandom().randrange(10000, 32000 - count)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")


class Members:
    def __init__(self, folder, binary, flags, violation):
        self.folder = folder
        self.binary = binary
        self.flags = flags
        self.violation = violation
        self.first_port = free_ports(2 * SLOTS + 2)
        self.number = 0
        self.all = []               # as was asked for; changed by one thread
        self.reachable = ()         # calls to the voters, for the clients' threads
        self.processes = []         # all that may still run
        self.guard = threading.Lock()
        self.gone = set()           # ids of members that were removed
        self.over = threading.Event()

    # ---- processes ----

    def new_member(self):
        taken = {m.slot for m in self.all}
        slot = min(s for s in range(SLOTS) if s not in taken)
        self.number += 1
        return Member(self.folder, self.addresses(slot), slot, self.number)

    def addresses(self, slot):
        """Of its clients, and of its peers."""
        first = self.first_port + 2 * slot
        return f"127.0.0.1:{first}", f"http://127.0.0.1:{first + 1}"

    def command(self, member):
        return [self.binary, "--name", member.name, "--data-dir", member.data,
                "--listen-client-urls", "http://" + member.client, "--advertise-client-urls", "http://" + member.client,
                "--listen-peer-urls", member.peer, "--initial-advertise-peer-urls", member.peer, *member.flags, *self.flags]

    def start(self, member):
        member.process = self.spawn(self.command(member), member.log)
        member.up = True

    def spawn(self, command, log):
        """A server of its own, which a signal to the soak does not reach. Ends with the soak at the latest."""
        with open(log, "ab") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        with self.guard:
            self.processes = [p for p in self.processes if p.poll() is None] + [process]
        return process

    def kill(self, member):
        member.up = False
        member.process.kill()
        member.process.wait()

    def stop(self, member):
        """In order."""
        member.up = False
        member.process.terminate()
        self.wait_end(member, 0)

    def pause(self, member):
        member.up = False
        member.process.send_signal(signal.SIGSTOP)

    def resume(self, member):
        member.process.send_signal(signal.SIGCONT)
        member.up = True

    def wait_end(self, member, wanted):
        try:
            status = member.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            status = "still running"
        if status != wanted:
            self.violation(f"{member} should end with status {wanted}: {status}; {member.log_end()}")

    def check_running(self):
        for member in self.all:
            if member.up and member.process.poll() is not None:
                self.violation(f"{member} has ended by itself, status {member.process.returncode}: {member.log_end()}")
        if self.over.is_set():
            raise Gone

    def end_all(self):
        with self.guard:
            for process in self.processes:
                process.kill()
                process.wait()

    # ---- who is there ----

    def voters(self):
        return [m for m in self.all if not m.learner]

    def learners(self):
        return [m for m in self.all if m.learner]

    def can_lose(self):
        """How many voters may be down beside those that are."""
        voters = self.voters()
        return sum(m.up for m in voters) - (len(voters) // 2 + 1)

    def show_clients(self):
        self.reachable = tuple(m.calls for m in self.voters())

    def leader(self):
        for member in self.voters():
            try:
                status = member.up and member.calls.status()
                if status and status.leader == status.header.member_id:
                    return member
            except grpc.RpcError:
                pass
        return None

    def wait_until(self, what, condition):
        limit = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.check_running()
            try:
                if condition():
                    return
            except grpc.RpcError:
                pass
            if time.monotonic() > limit:
                self.violation(f"waited in vain for {PATIENCE_SECONDS} s: {what}")
                raise Gone
            time.sleep(0.05)

    def settle(self):
        """Every member answers, has all that was written, and lists the members that there shall be."""
        wanted = {(m.name, m.peer, m.learner) for m in self.all}
        for member in self.all:
            if member.learner:
                self.wait_until(f"the learner {member} answers", member.calls.status)
            else:
                self.wait_until(f"{member} reads", lambda m=member: m.calls.get(b"s/end"))
        for member in self.voters():
            self.wait_until(f"{member} lists {sorted(wanted)}", lambda m=member: set(self.listed(m)) == wanted)

    # ---- changes ----

    def etcdctl(self, member, *command):
        """Its output when it has done it, else None, and what it said."""
        try:
            run = subprocess.run(["etcdctl", f"--command-timeout={LISTED_SECONDS}s", "--dial-timeout=5s", "--endpoints=" + member.client,
                                  *command], capture_output=True, text=True, timeout=3 * LISTED_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return None, "no answer"
        return (run.stdout if run.returncode == 0 else None), (run.stderr or run.stdout).strip()

    def listed(self, member):
        """{(name, peer URL, learner): id} as MEMBER knows them."""
        output, _ = self.etcdctl(member, "member", "list", "-w", "json")
        found = json.loads(output)["members"] if output else []
        return {(m.get("name", ""), m["peerURLs"][0], m.get("isLearner", False)): m["ID"] for m in found}

    def change(self, rng, what, done, command):
        """Ask with COMMAND, which makes the arguments from the list, until DONE finds in the list that it is so."""
        limit = time.monotonic() + PATIENCE_SECONDS
        said = ""
        while time.monotonic() < limit:
            self.check_running()
            asked = rng.choice([m for m in self.voters() if m.up])
            listed = self.listed(asked)
            if listed and done(listed):
                return listed
            arguments = command(listed) if listed else None
            if arguments:
                output, said = self.etcdctl(asked, *arguments)
                if output is not None:
                    continue
            time.sleep(0.2)
        self.violation(f"could not {what}: {said}")
        raise Gone

    def add(self, rng, learner, again=None):
        """A member of the list that has not been started. AGAIN: one that was removed, whose place and name it takes."""
        member = again or self.new_member()
        kind = ["--learner"] if learner else []
        # Who is asked may not have heard yet that who had this place has gone.
        listed = self.change(rng, f"add {member}",
                             lambda found: any(at[1] == member.peer and i not in self.gone for at, i in found.items()),
                             lambda found: ["member", "add", member.name, "--peer-urls=" + member.peer, *kind])
        names = [f"{member.name if peer == member.peer else name}={peer}" for name, peer, _ in listed]
        member.flags = ["--initial-cluster", ",".join(names), "--initial-cluster-state", "existing"]
        member.learner = learner
        return member

    def join(self, member):
        """Clients use it from now on; when it has all that was written it answers."""
        self.all.append(member)
        self.show_clients()

    def identity(self, listed, member):
        return next((f"{i:x}" for (_, peer, _), i in listed.items() if peer == member.peer), None)

    def promote(self, rng, member):
        self.change(rng, f"promote {member}", lambda found: (member.name, member.peer, False) in found,
                    lambda found: ["member", "promote", self.identity(found, member)])
        member.learner = False
        self.show_clients()

    def remove(self, rng, member):
        """One that runs hears of it and ends by itself; its data and its place are free then."""
        running = member.up
        member.up = False
        self.all.remove(member)

        def command(found):
            identity = self.identity(found, member)
            self.gone.add(int(identity, 16))
            return ["member", "remove", identity]

        self.change(rng, f"remove {member}", lambda found: self.identity(found, member) is None, command)
        self.show_clients()
        if running:
            self.wait_end(member, REMOVED_STATUS)
        shutil.rmtree(member.data, ignore_errors=True)

    def begin(self, count):
        self.all = []
        for _ in range(count):
            self.all.append(self.new_member())
        names = ",".join(f"{m.name}={m.peer}" for m in self.all)
        for member in self.all:
            member.flags = ["--initial-cluster", names, "--initial-cluster-token", f"members-{self.first_port}"]
            self.start(member)
        self.show_clients()
        self.settle()
