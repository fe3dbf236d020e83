#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members die by SIGKILL while clients write and read; then everything that was acknowledged must be there.

Writers put unique keys through members at random, and each counts a key of its own upwards by compare-and-swap. Readers
check that a linearizable read is never older than a write that was acknowledged before it began. A killer kills one
member, the leader, two, or all, lets them be dead for a while, and starts them again. In the end: every acknowledged put is
there with its revision, each counter is what its acknowledged and unknown steps allow, revisions of acknowledged writes
are unique, and all members have the same HashKV. What watchers and leases see meanwhile is kill_witness.py's.
"""
import argparse
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from cluster.calls import KV, Member, retry  # before grpc, which reads what it sets

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

from kill_witness import Witness

PATIENCE_SECONDS = 90  # for what must work when nobody is killed any more


class Run:
    def __init__(self, endpoints, seed):
        self.members = [Member(e) for e in endpoints]
        self.seed = seed
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.acked = {}      # key -> revision
        self.unknown = set() # keys whose put has no answer
        self.violations = []
        self.reads = 0
        self.newest_acked = 0

    def violation(self, text):
        with self.lock:
            self.violations.append(text)
        self.stop.set()

    def write_keys(self, name):
        rng = random.Random(f"{self.seed} keys {name}")
        number = 0
        while not self.stop.is_set():
            number += 1
            key = b"w/%s/%06d" % (name.encode(), number)
            try:
                revision = rng.choice(self.members).put(key, key)
                with self.lock:
                    self.acked[key] = revision
                    self.newest_acked = max(self.newest_acked, revision)
            except grpc.RpcError:
                with self.lock:
                    self.unknown.add(key)
                time.sleep(0.02)

    def count_up(self, name, result):
        """Only this thread changes the key: after an unknown outcome it looks, and what it finds must be possible."""
        rng = random.Random(f"{self.seed} count {name}")
        key = b"c/%s" % name.encode()
        value, revision = 0, 0
        while not self.stop.is_set():
            member = rng.choice(self.members)
            try:
                succeeded, at = member.swap(key, revision, b"%d" % (value + 1))
                if not succeeded:
                    self.violation(f"counter {name}: a swap from {value}@{revision} found something else")
                    return
                value, revision = value + 1, at
            except grpc.RpcError:
                found = self.look(member, rng, key)
                if found is None:
                    continue
                seen, at = found
                # A swap without an answer may still be on its way, so only one of two values is possible, and if it
                # is the old one, the next swap from the old revision stays right either way.
                if seen not in (value, value + 1):
                    self.violation(f"counter {name}: {seen} after {value} was acknowledged")
                    return
                if seen == value:
                    seen, at = self.settle(rng, key, value, revision)
                value, revision = seen, at
        result[name] = (value, revision)

    def settle(self, rng, key, value, revision):
        """Write the same value again until that is acknowledged or the step before it turns out to have happened."""
        while not self.stop.is_set():
            member = rng.choice(self.members)
            try:
                succeeded, at = member.swap(key, revision, b"%d" % value)
                if succeeded:
                    return value, at
            except grpc.RpcError:
                pass
            found = self.look(member, rng, key)
            if found is not None and found[1] != revision:
                value, revision = found
        return value, revision

    def look(self, member, rng, key):
        while not self.stop.is_set():
            try:
                kv, _ = member.get(key)
                return (0, 0) if kv is None else (int(kv.value), kv.mod_revision)
            except grpc.RpcError:
                time.sleep(0.02)
                member = rng.choice(self.members)
        return None

    def read_keys(self, name):
        rng = random.Random(f"{self.seed} read {name}")
        while not self.stop.is_set():
            with self.lock:
                newest = self.newest_acked
                key = rng.choice(list(self.acked)[-50:]) if self.acked else None
            if key is None:
                time.sleep(0.05)
                continue
            try:
                kv, revision = rng.choice(self.members).get(key)
                if kv is None:
                    self.violation(f"an acknowledged key is not found: {key}")
                elif revision < newest:
                    self.violation(f"a read at {revision} began after {newest} was acknowledged")
                self.reads += 1
            except grpc.RpcError:
                time.sleep(0.02)


def cluster(options, *command):
    subprocess.run(options.cluster.split() + list(command), check=True, stdout=subprocess.DEVNULL)


def leader_of(run):
    for number, member in enumerate(run.members, 1):
        try:
            status = member.status()
            if status.leader == status.header.member_id:
                return number
        except grpc.RpcError:
            pass
    return None


def kill_members(options, run, rng):
    """Until the wanted number of kills is reached; the count by kind. A run whose time is over before is void."""
    counts = {"one": 0, "leader": 0, "two": 0, "all": 0}
    kills = 0
    end = time.monotonic() + options.seconds
    while kills < options.kills and time.monotonic() < end and not run.stop.is_set():
        time.sleep(rng.uniform(0.3, 1.5))
        kind = rng.choice(["one", "one", "leader", "leader", "two", "all"])
        everybody = list(range(1, len(run.members) + 1))
        victims = {"one": rng.sample(everybody, 1), "two": rng.sample(everybody, 2), "all": everybody}.get(kind)
        if victims is None:
            leader = leader_of(run)
            victims = [leader] if leader else rng.sample(everybody, 1)
        for victim in victims:
            cluster(options, "kill", str(victim))
            kills += 1
        counts[kind] += 1
        time.sleep(rng.uniform(0, 0.8))
        for victim in rng.sample(victims, len(victims)):
            cluster(options, "restart", str(victim))
    if kills < options.kills and not run.stop.is_set():
        run.violations.append(f"only {kills} of {options.kills} kills in {options.seconds} s: the run is void")
    return kills, counts


def check_end(run, counters):
    """Everything acknowledged is there, on every member the same."""
    run.members = [Member(m.endpoint) for m in run.members]
    for number, member in enumerate(run.members, 1):
        retry(lambda m=member: m.get(b"w"), PATIENCE_SECONDS)
        found = {}
        key = b"w/"
        while True:
            request = pb.RangeRequest(key=key, range_end=b"w0", limit=5000)
            answer = retry(lambda: member.call(KV + "Range", request, pb.RangeResponse, 20), PATIENCE_SECONDS)
            for kv in answer.kvs:
                found[kv.key] = kv.mod_revision
                if kv.value != kv.key:
                    run.violations.append(f"member {number}: {kv.key} has the value {kv.value}")
            if not answer.more:
                break
            key = answer.kvs[-1].key + b"\x00"
        lost = [k for k, revision in run.acked.items() if found.get(k) != revision]
        if lost:
            run.violations.append(f"member {number}: {len(lost)} acknowledged puts are lost or moved, the first: {lost[:3]}")
        strange = [k for k in found if k not in run.acked and k not in run.unknown]
        if strange:
            run.violations.append(f"member {number}: keys that nobody wrote: {strange[:3]}")
        for name, (value, revision) in counters.items():
            kv, _ = retry(lambda n=name: member.get(b"c/%s" % n.encode()), PATIENCE_SECONDS)
            if (int(kv.value) if kv else 0) not in (value, value + 1):
                run.violations.append(f"member {number}: counter {name} is {kv.value}, {value} was acknowledged")
    revisions = list(run.acked.values())
    if len(set(revisions)) != len(revisions):
        run.violations.append("two acknowledged puts have the same revision")
    newest = max(retry(lambda: m.get(b"w"), PATIENCE_SECONDS)[1] for m in run.members)
    hashes = [retry(lambda m=m: m.hash(newest), PATIENCE_SECONDS) for m in run.members]
    if len(set(hashes)) != 1:
        run.violations.append(f"hashes at revision {newest} differ: {hashes}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--cluster", required=True, help="the command that kills and restarts members")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=1500, help="for all kills, however busy the machine is")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--acks-min", type=int, default=500, help="fewer acknowledged writes: the run is void")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    run = Run(options.endpoints.split(","), options.seed)
    # A thread that ends by mistake checks nothing any more.
    threading.excepthook = lambda failed: run.violation(f"{failed.thread.name} ended: {failed.exc_value!r}")
    print(f"seed {options.seed}", flush=True)
    counters = {}
    threads = [threading.Thread(target=run.write_keys, args=(str(i),)) for i in range(options.writers)]
    threads += [threading.Thread(target=run.count_up, args=(str(i), counters)) for i in range(2)]
    threads += [threading.Thread(target=run.read_keys, args=(str(i),)) for i in range(2)]
    for thread in threads:
        thread.start()
    witness = Witness(run)
    threads += witness.start()
    try:
        kills, counts = kill_members(options, run, random.Random(f"{options.seed} kills"))
        time.sleep(2)
    finally:
        run.stop.set()
        for thread in threads:
            thread.join()
        if run.violations:
            witness.finish.set()
    if not run.violations:
        witness.end()
        check_end(run, counters)
    print(f"{kills} kills {counts}; {len(run.acked)} puts acknowledged, {len(run.unknown)} unknown; "
          f"counters {sorted(v for v, _ in counters.values())}; {run.reads} reads checked; {witness.summary()}")
    for text in run.violations:
        print(f"VIOLATION: {text}")
    if len(run.acked) < options.acks_min:
        print(f"void: only {len(run.acked)} writes were acknowledged")
        return 1
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
