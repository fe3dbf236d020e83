#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Leases are kept alive while the leader is killed again and again; none may end before it was promised to.

Each lease holds a key. Those of one half are kept alive through members at random, by streams that are made again when
they break; every positive answer promises the lease for its TTL from then on. Those of the other half have a long TTL and
are let be. A watcher of the keys looks, on every member, whether a key is gone whose promise still holds. In the end
nobody keeps anything alive, and all of the first half must end in time.
"""
import argparse
import os
import queue
import random
import subprocess
import sys
import threading
import time

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # the commands that kill are processes; calls go on meanwhile

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

LEASE = "/etcdserverpb.Lease/"
KV = "/etcdserverpb.KV/"
CALL_SECONDS = 5


def channel_to(endpoint):
    return grpc.insecure_channel(endpoint, options=[("grpc.initial_reconnect_backoff_ms", 50),
                                                    ("grpc.max_reconnect_backoff_ms", 200)])


class Run:
    def __init__(self, endpoints, seed):
        self.channels = [channel_to(e) for e in endpoints]
        self.seed = seed
        self.stop = threading.Event()
        self.promised = {}  # lease -> monotonic time until which it was promised
        self.ttls = {}
        self.answers = 0
        self.broken = 0
        self.looks = 0
        self.violations = []

    def call(self, channel, method, request, answer_type, seconds=CALL_SECONDS):
        return channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                   response_deserializer=answer_type.FromString)(request, timeout=seconds)

    def any_call(self, method, request, answer_type):
        """Through any member, until it works: only for what may be done twice."""
        limit = time.monotonic() + 30
        while True:
            try:
                return self.call(random.choice(self.channels), method, request, answer_type)
            except grpc.RpcError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)

    def grant(self, ttl):
        before = time.monotonic()
        lease = self.any_call(LEASE + "LeaseGrant", pb.LeaseGrantRequest(TTL=ttl), pb.LeaseGrantResponse)
        self.any_call(KV + "Put", pb.PutRequest(key=key_of(lease.ID), value=b"v", lease=lease.ID), pb.PutResponse)
        self.ttls[lease.ID] = lease.TTL
        self.promised[lease.ID] = before + lease.TTL
        return lease.ID

    def keep_alive(self, leases, name):
        rng = random.Random(f"{self.seed} {name}")
        while not self.stop.is_set():
            self.keep_alive_through(rng.choice(self.channels), leases)

    def keep_alive_through(self, channel, leases):
        """Until the stream breaks. A promise is taken from when its request was sent: that is before the answer."""
        requests = queue.Queue()
        stream = channel.stream_stream(LEASE + "LeaseKeepAlive", request_serializer=lambda m: m.SerializeToString(),
                                       response_deserializer=pb.LeaseKeepAliveResponse.FromString)
        answers = stream(iter(requests.get, None), timeout=CALL_SECONDS)
        try:
            while not self.stop.is_set():
                for lease in leases:
                    sent = time.monotonic()
                    requests.put(pb.LeaseKeepAliveRequest(ID=lease))
                    answer = next(answers)
                    if answer.ID != lease:
                        self.violations.append(f"asked for lease {lease:x}, answered for {answer.ID:x}")
                    elif answer.TTL == 0:
                        if sent < self.promised[lease] and not self.stop.is_set():
                            self.violations.append(f"lease {lease:x} is gone before it was promised to be")
                    else:
                        self.promised[lease] = sent + answer.TTL
                        self.answers += 1
                time.sleep(0.2)
        except (grpc.RpcError, StopIteration):
            self.broken += 1
            time.sleep(0.05)
        finally:
            requests.put(None)
            answers.cancel()

    def look(self, channel):
        """Whose keys does a member not have, though they are promised? The promise is looked at before the keys."""
        while not self.stop.is_set():
            now = time.monotonic()
            promised = [lease for lease, until in list(self.promised.items()) if until > now + CALL_SECONDS]
            try:
                request = pb.RangeRequest(key=b"lease/", range_end=b"lease0", keys_only=True)
                found = {kv.key for kv in self.call(channel, KV + "Range", request, pb.RangeResponse).kvs}
                self.looks += 1
            except grpc.RpcError:
                time.sleep(0.1)
                continue
            for lease in promised:
                if key_of(lease) not in found:
                    self.violations.append(f"the key of lease {lease:x} is gone, promised for {self.promised[lease] - now:.1f} s")
                    self.stop.set()
            time.sleep(0.1)


def key_of(lease):
    return b"lease/%d" % lease


def leader_of(endpoints):
    for number, endpoint in enumerate(endpoints, 1):
        try:
            answer = channel_to(endpoint).unary_unary(
                "/etcdserverpb.Maintenance/Status", request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=pb.StatusResponse.FromString)(pb.StatusRequest(), timeout=2)
            if answer.leader == answer.header.member_id:
                return number
        except grpc.RpcError:
            pass
    return None


def kill_leaders(options, endpoints, run):
    kills = 0
    while kills < options.kills and not run.stop.is_set():
        time.sleep(1.5)
        leader = leader_of(endpoints)
        if leader is None:
            continue
        subprocess.run(options.cluster.split() + ["kill", str(leader)], check=True, capture_output=True)
        time.sleep(1)
        subprocess.run(options.cluster.split() + ["restart", str(leader)], check=True, capture_output=True)
        kills += 1
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--cluster", required=True, help="the command that kills and restarts members")
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--leases", type=int, default=20)
    parser.add_argument("--ttl", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    endpoints = options.endpoints.split(",")
    run = Run(endpoints, options.seed)
    # A thread that ends by mistake checks nothing any more.
    threading.excepthook = lambda failed: run.violations.append(f"{failed.thread.name} ended: {failed.exc_value!r}")
    kept = [run.grant(options.ttl) for _ in range(options.leases)]
    left_alone = [run.grant(3600) for _ in range(options.leases)]
    threads = [threading.Thread(target=run.keep_alive, args=(kept[i::4], str(i))) for i in range(4)]
    threads += [threading.Thread(target=run.look, args=(channel,)) for channel in run.channels]
    for thread in threads:
        thread.start()
    kills = kill_leaders(options, endpoints, run)
    time.sleep(2)
    run.stop.set()
    for thread in threads:
        thread.join()
    # All ends: a TTL, an election timeout of grace if the leader is new, and a second.
    limit = max(run.promised[lease] for lease in kept) + 4
    while time.monotonic() < limit:
        answer = run.any_call(LEASE + "LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
        there = {lease.ID for lease in answer.leases}
        if not there & set(kept):
            break
        time.sleep(0.2)
    else:
        run.violations.append(f"{len(there & set(kept))} leases that nobody keeps alive are still there")
    if not set(left_alone) <= there:
        run.violations.append("a lease of an hour has ended")
    print(f"{kills} leaders killed; {run.answers} renewals, {run.broken} streams broken; {run.looks} looks at the keys")
    for text in run.violations:
        print(f"VIOLATION: {text}")
    if run.answers < 10 * options.leases or run.looks < 10 * len(endpoints):
        print("void: too few renewals or looks")
        return 1
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
