#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An unchanged etcdctl watches, locks, elects and keeps leases alive, each through one member, while leaders are killed.

etcdctl ends by itself when its member is away for too long or sees no leader; it is then started again, a watch where it
stopped. Checked is what it printed: every watcher was told every write that was acknowledged, each once, in order, and
with the value before it; the lock was never had by two; whoever is elected is seen by every observer, in order; no lease
that is kept alive ended.
"""
import argparse
import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # etcdctl is run all the time; calls go on meanwhile
os.environ["ETCDCTL_API"] = "3"

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

KV = "/etcdserverpb.KV/"
PATIENCE_SECONDS = 90  # for what must come, however busy the machine is
TTL = 30               # longer than any member is away


class Run:
    def __init__(self, endpoints, folder, seed):
        self.endpoints = endpoints
        self.folder = folder
        self.seed = seed
        self.channels = [grpc.insecure_channel(e, options=[("grpc.initial_reconnect_backoff_ms", 50),
                                                           ("grpc.max_reconnect_backoff_ms", 200)]) for e in endpoints]
        self.stop = threading.Event()    # of writers, callers and candidates
        self.finish = threading.Event()  # of watchers and observers
        self.guard = threading.Lock()
        self.processes = set()
        self.violations = []
        self.acked = {}     # revision -> (key, value), a value of None: deleted
        self.watched = {}   # member -> events
        self.observed = {}  # member -> [(revision, create revision, value)]
        self.elected = []
        self.locks = {}
        self.restarts = {"watch": 0, "lock": 0, "elect": 0, "observe": 0}

    def violation(self, text):
        with self.guard:
            self.violations.append(text)

    def call(self, number, method, request, answer, seconds=3):
        return self.channels[number].unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                                 response_deserializer=answer.FromString)(request, timeout=seconds)

    def any_call(self, method, request, answer):
        limit = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.call(random.randrange(len(self.channels)), method, request, answer)
            except grpc.RpcError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.05)

    def etcdctl(self, number, *arguments):
        process = subprocess.Popen(["etcdctl", "--endpoints=" + self.endpoints[number], "--dial-timeout=10s", *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with self.guard:
            self.processes.add(process)
        return process

    def ended(self, process):
        process.stdout.close()
        status = process.wait()
        with self.guard:
            self.processes.discard(process)
        return status

    # ---- who writes ----

    def write(self, name):
        rng = random.Random(f"{self.seed} {name}")
        number = 0
        while not self.stop.is_set():
            number += 1
            key = b"w/%s/%d" % (name.encode(), rng.randrange(5))
            try:
                if rng.random() < 0.2:
                    answer = self.call(rng.randrange(len(self.channels)), KV + "DeleteRange",
                                       pb.DeleteRangeRequest(key=key), pb.DeleteRangeResponse)
                    change = (key, None) if answer.deleted else None
                else:
                    value = b"%d" % number
                    answer = self.call(rng.randrange(len(self.channels)), KV + "Put", pb.PutRequest(key=key, value=value),
                                       pb.PutResponse)
                    change = (key, value)
                if change:
                    with self.guard:
                        self.acked[answer.header.revision] = change
            except grpc.RpcError:
                pass
            time.sleep(0.005)

    # ---- watch ----

    def watch(self, number):
        events = self.watched[number] = []
        revision = 1
        while not self.finish.is_set():
            process = self.etcdctl(number, "watch", "--prefix", "--prev-kv", "--rev", str(revision), "-w", "json", "w/")
            for line in process.stdout:
                try:
                    answer = json.loads(line)
                except ValueError:
                    break  # it ended in the middle of a line
                events += answer.get("Events") or []
                if answer.get("Events"):
                    revision = answer["Events"][-1]["kv"]["mod_revision"] + 1
            self.ended(process)
            self.restarts["watch"] += 1
            self.finish.wait(0.2)

    def check_watcher(self, number):
        """Each event carries what was before: so nothing can be missing between two of them, acknowledged or not."""
        name = f"the watcher of member {number + 1}"
        last = {}
        newest = 0
        seen = {}
        for event in self.watched[number]:
            kv, before = event["kv"], event.get("prev_kv")
            key, revision = base64.b64decode(kv["key"]), kv["mod_revision"]
            if revision <= newest:
                self.violation(f"{name} was told {revision} after {newest}")
            newest = revision
            deleted = event.get("type", 0) == 1
            known = last.get(key)
            if (known and known["mod_revision"]) != (before and before["mod_revision"]):
                self.violation(f"{name}: before {revision} {key} was {known}, it was told {before}")
            last[key] = None if deleted else kv
            seen[revision] = (key, None if deleted else base64.b64decode(kv.get("value", "")))
        for revision, change in self.acked.items():
            if seen.get(revision) != change:
                self.violation(f"{name} was told {seen.get(revision)} at {revision}, where {change} was acknowledged")
        return seen

    # ---- lock ----

    def lock(self, number):
        """The command is run with the lock: its folder is there exactly as long."""
        held = os.path.join(self.folder, "held")
        command = f"mkdir {held} || {{ echo two; exit 1; }}; sleep 0.05; rmdir {held}; echo one"
        self.locks[number] = 0
        while not self.stop.is_set():
            process = self.etcdctl(number, "lock", "--ttl", str(TTL), "mutex", "--", "sh", "-c", command)
            output = process.stdout.read()
            if "two" in output:
                self.violation(f"two had the lock, one of them through member {number + 1}")
            self.locks[number] += output.count("one")
            if self.ended(process) != 0:
                self.restarts["lock"] += 1
                self.stop.wait(0.2)

    # ---- elect ----

    def stand(self, number):
        rng = random.Random(f"{self.seed} stand {number}")
        term = 0
        while not self.stop.is_set():
            term += 1
            value = f"candidate {number} {term}"
            process = self.etcdctl(number, "elect", "-w", "json", "office", value)
            line = process.stdout.readline()
            if line:
                kv = json.loads(line)["kvs"][0]
                with self.guard:
                    self.elected.append((kv["create_revision"], value))
                time.sleep(rng.uniform(0, 0.3))
                process.send_signal(signal.SIGINT)  # it resigns
                process.stdout.read()
            if self.ended(process) != 0:
                self.restarts["elect"] += 1
                self.stop.wait(0.2)

    def observe(self, number):
        seen = self.observed[number] = []
        while not self.finish.is_set():
            process = self.etcdctl(number, "elect", "-l", "-w", "json", "office")
            for line in process.stdout:
                try:
                    kv = json.loads(line)["kvs"][0]
                except ValueError:
                    break
                seen.append((kv["mod_revision"], kv["create_revision"], base64.b64decode(kv["value"]).decode()))
            self.ended(process)
            self.restarts["observe"] += 1
            self.finish.wait(0.2)

    def check_observer(self, number):
        seen = self.observed[number]
        if seen != sorted(seen):
            self.violation(f"the observer of member {number + 1} was told of leaders out of order: {seen}")
        if not seen or seen[-1][2] != "the last":
            self.violation(f"the observer of member {number + 1} was not told of the last leader: {seen[-3:]}")

    # ---- leases ----

    def keep_alive(self, number, lease):
        """One process for the whole time: it tries again by itself until the lease is over."""
        process = self.etcdctl(number, "lease", "keep-alive", f"{lease:x}")
        output = process.stdout.read()
        status = self.ended(process)
        if not self.finish.is_set():
            self.violation(f"keep-alive of lease {lease:x} through member {number + 1} ended ({status}): {output[-200:]}")

    def check_leases(self, leases):
        there = {lease.ID for lease in self.any_call("/etcdserverpb.Lease/LeaseLeases", pb.LeaseLeasesRequest(),
                                                     pb.LeaseLeasesResponse).leases}
        for lease in leases:
            key = b"lease/%x" % lease
            if lease not in there or not self.any_call(KV + "Range", pb.RangeRequest(key=key), pb.RangeResponse).kvs:
                self.violation(f"lease {lease:x}, which is kept alive, has ended")


def grant(run):
    lease = run.any_call("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=TTL), pb.LeaseGrantResponse).ID
    run.any_call(KV + "Put", pb.PutRequest(key=b"lease/%x" % lease, value=b"v", lease=lease), pb.PutResponse)
    return lease


def leader_of(run):
    for number in range(len(run.endpoints)):
        try:
            status = run.call(number, "/etcdserverpb.Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)
            if status.leader == status.header.member_id:
                return number + 1
        except grpc.RpcError:
            pass
    return None


def kill_leaders(options, run):
    kills = 0
    while kills < options.kills and not run.violations:
        time.sleep(options.interval)
        leader = leader_of(run)
        if leader is None:
            continue
        subprocess.run(options.cluster.split() + ["kill", str(leader)], check=True, capture_output=True)
        time.sleep(1)
        subprocess.run(options.cluster.split() + ["restart", str(leader)], check=True, capture_output=True)
        kills += 1
    time.sleep(options.interval / 2)
    return kills


def wait_until(run, what, condition):
    limit = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > limit:
            run.violation(f"waited in vain: {what}")
            return
        time.sleep(0.05)


def settle(run):
    """Writers, callers and candidates have ended: what is the last must reach everybody."""
    run.any_call(KV + "Put", pb.PutRequest(key=b"office/0", value=b"the last"), pb.PutResponse)
    newest = run.any_call(KV + "Put", pb.PutRequest(key=b"w/last", value=b"x"), pb.PutResponse).header.revision
    with run.guard:
        run.acked[newest] = (b"w/last", b"x")
    for number in range(len(run.endpoints)):
        wait_until(run, f"revision {newest} at the watcher of member {number + 1}",
                   lambda n=number: run.watched[n] and run.watched[n][-1]["kv"]["mod_revision"] >= newest)
        wait_until(run, f"the last leader at the observer of member {number + 1}",
                   lambda n=number: run.observed[n] and run.observed[n][-1][2] == "the last")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--cluster", required=True, help="the command that kills and restarts members")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--interval", type=float, default=3, help="seconds between kills")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    began = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    run = Run(options.endpoints.split(","), options.folder, options.seed)
    # A thread that ends by mistake checks nothing any more.
    threading.excepthook = lambda failed: run.violation(f"{failed.thread.name} ended: {failed.exc_value!r}")
    leases = [grant(run) for _ in run.endpoints]
    numbers = range(len(run.endpoints))
    active = [threading.Thread(target=run.write, args=(f"writer{i}",)) for i in range(2)]
    active += [threading.Thread(target=action, args=(i,)) for i in numbers for action in (run.lock, run.stand)]
    lasting = [threading.Thread(target=action, args=(i,)) for i in numbers for action in (run.watch, run.observe)]
    lasting += [threading.Thread(target=run.keep_alive, args=(i, leases[i])) for i in numbers]
    for thread in lasting + active:
        thread.start()
    kills = kill_leaders(options, run)
    run.stop.set()
    for thread in active:
        thread.join()
    settle(run)
    run.check_leases(leases)
    run.finish.set()
    with run.guard:
        processes = list(run.processes)
    for process in processes:
        process.kill()
    for thread in lasting:
        thread.join()
    seen = [run.check_watcher(i) for i in numbers]
    if any(s != seen[0] for s in seen):
        run.violation("the watchers were not told the same")
    for i in numbers:
        run.check_observer(i)
    print(f"{kills} leaders killed in {time.monotonic() - began:.0f} s; {len(run.acked)} writes acknowledged, {len(seen[0])} told; lock had {run.locks}; "
          f"{len(run.elected)} elected, told of {[len(o) for o in run.observed.values()]}; ended by themselves: {run.restarts}")
    for text in run.violations[:20]:
        print(f"VIOLATION: {text}")
    if len(run.acked) < 50 or sum(run.locks.values()) < 5 or len(run.elected) < 5:
        print("void: too little happened")
        return 1
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
