#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Locks and elections through a second client while the leader is killed again and again.

First what each method answers, through every member. Then callers contend for one lock and candidates for one election,
through members at random, while leaders die by SIGKILL. At no time may two have the lock; every
observer is told of leaders in the order in which they were elected; and in the end nothing is left: no key, no watcher.
"""
import argparse
import os
import queue
import random
import subprocess
import sys
import threading
import time
import urllib.request

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # the commands that kill are processes; calls go on meanwhile
# Calls that fail at once do not wait for the connection that they want; else nothing looks after it for five seconds.
os.environ["GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS"] = "100"

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

KV = "/etcdserverpb.KV/"
LEASE = "/etcdserverpb.Lease/"
LOCK = "/v3lockpb.Lock/"
ELECTION = "/v3electionpb.Election/"
PATIENCE_SECONDS = 60  # for what must come, however busy the machine is

# python3-etcd3 has no messages for these two services. The fields, each with its number: the place in the list.
FIELDS = {
    "v3lockpb": {
        "LockRequest": ["name bytes", "lease int64"],
        "LockResponse": ["header .etcdserverpb.ResponseHeader", "key bytes"],
        "UnlockRequest": ["key bytes"],
        "UnlockResponse": ["header .etcdserverpb.ResponseHeader"],
    },
    "v3electionpb": {
        "LeaderKey": ["name bytes", "key bytes", "rev int64", "lease int64"],
        "CampaignRequest": ["name bytes", "lease int64", "value bytes"],
        "CampaignResponse": ["header .etcdserverpb.ResponseHeader", "leader .v3electionpb.LeaderKey"],
        "LeaderRequest": ["name bytes"],
        "LeaderResponse": ["header .etcdserverpb.ResponseHeader", "kv .mvccpb.KeyValue"],
        "ResignRequest": ["leader .v3electionpb.LeaderKey"],
        "ResignResponse": ["header .etcdserverpb.ResponseHeader"],
        "ProclaimRequest": ["leader .v3electionpb.LeaderKey", "value bytes"],
        "ProclaimResponse": ["header .etcdserverpb.ResponseHeader"],
    },
}


def make_messages():
    """The classes, by name."""
    made = {}
    for package, messages in FIELDS.items():
        file = descriptor_pb2.FileDescriptorProto(name=package + ".proto", package=package, syntax="proto3",
                                                  dependency=["kv.proto", "rpc.proto"])
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for number, field in enumerate(fields, 1):
                field_name, kind = field.split()
                added = message.field.add(name=field_name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
                if kind.startswith("."):
                    added.type, added.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
                else:
                    added.type = getattr(descriptor_pb2.FieldDescriptorProto, "TYPE_" + kind.upper())
        pool = descriptor_pool.Default()
        pool.Add(file)
        for name in messages:
            made[name] = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(package + "." + name))
    return made


M = make_messages()


class Member:
    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.channel = grpc.insecure_channel(endpoint, options=[("grpc.initial_reconnect_backoff_ms", 50),
                                                                ("grpc.min_reconnect_backoff_ms", 1000),
                                                                ("grpc.max_reconnect_backoff_ms", 200)])

    def call(self, method, request, answer, seconds=PATIENCE_SECONDS):
        return self.channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=answer.FromString)(request, timeout=seconds)

    def get(self, key, range_end=b""):
        return list(self.call(KV + "Range", pb.RangeRequest(key=key, range_end=range_end), pb.RangeResponse).kvs)

    def grant(self, ttl=60):
        return self.call(LEASE + "LeaseGrant", pb.LeaseGrantRequest(TTL=ttl), pb.LeaseGrantResponse).ID

    def revoke(self, lease):
        self.call(LEASE + "LeaseRevoke", pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse)

    def revoke_if_there(self, lease):
        try:
            self.revoke(lease)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise

    def lock(self, name, lease, seconds=PATIENCE_SECONDS):
        return self.call(LOCK + "Lock", M["LockRequest"](name=name, lease=lease), M["LockResponse"], seconds)

    def unlock(self, key):
        return self.call(LOCK + "Unlock", M["UnlockRequest"](key=key), M["UnlockResponse"])

    def campaign(self, name, lease, value, seconds=PATIENCE_SECONDS):
        request = M["CampaignRequest"](name=name, lease=lease, value=value)
        return self.call(ELECTION + "Campaign", request, M["CampaignResponse"], seconds)

    def proclaim(self, leader, value):
        return self.call(ELECTION + "Proclaim", M["ProclaimRequest"](leader=leader, value=value), M["ProclaimResponse"])

    def resign(self, leader):
        return self.call(ELECTION + "Resign", M["ResignRequest"](leader=leader), M["ResignResponse"])

    def leader(self, name):
        return self.call(ELECTION + "Leader", M["LeaderRequest"](name=name), M["LeaderResponse"])

    def observe(self, name):
        stream = self.channel.unary_stream(ELECTION + "Observe", request_serializer=lambda m: m.SerializeToString(),
                                           response_deserializer=M["LeaderResponse"].FromString)
        return stream(M["LeaderRequest"](name=name))


def same(what, got, want):
    if got != want:
        print(f"{what}: got {got!r}, expected {want!r}")
        sys.exit(1)


def failure(what, call, code, text):
    try:
        call()
    except grpc.RpcError as error:
        same(what, (error.code(), error.details() if text is not None else None), (code, text))
    else:
        same(what, "success", text)


def wait_until(what, condition):
    limit = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > limit:
            print(f"waited in vain: {what}")
            sys.exit(1)
        time.sleep(0.02)


def in_background(action):
    """Its result is taken from what is returned."""
    results = queue.Queue()

    def run():
        try:
            results.put(action())
        except grpc.RpcError as error:
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    return results


# ---- what is answered ----


def check_locks(first, second):
    unknown = grpc.StatusCode.UNKNOWN
    lease, other, third = first.grant(), second.grant(), second.grant()
    got = first.lock(b"l", lease)
    same("the key of a lock", got.key, b"l/%x" % lease)
    same("its revision", first.get(got.key)[0].create_revision, got.header.revision)
    same("the same lease again", second.lock(b"l", lease).key, got.key)
    failure("a lock without a lease", lambda: first.lock(b"l", 1), unknown, "etcdserver: requested lease not found")

    waiting = in_background(lambda: second.lock(b"l", other))
    wait_until("a second key", lambda: len(first.get(b"l/", b"l0")) == 2)
    failure("a lock that comes too late", lambda: first.lock(b"l", third, 0.3), grpc.StatusCode.DEADLINE_EXCEEDED,
            None)  # whose clock is first, the client's or the member's
    wait_until("the key of who has gone away is gone", lambda: len(second.get(b"l/", b"l0")) == 2)
    lost = in_background(lambda: second.lock(b"l", third))
    wait_until("a third key", lambda: len(first.get(b"l/", b"l0")) == 3)
    first.revoke(third)
    error = lost.get(timeout=PATIENCE_SECONDS)
    same("whose lease ends while waiting", (error.code(), error.details()), (unknown, "mutex: session is expired"))
    same("nobody else got it", waiting.empty(), True)
    second.unlock(got.key)
    same("the next one", waiting.get(timeout=PATIENCE_SECONDS).key, b"l/%x" % other)
    first.revoke(other)
    first.revoke(lease)

    session = first.lock(b"l", 0)
    left = first.call(LEASE + "LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=int(session.key.split(b"/")[1], 16)),
                      pb.LeaseTimeToLiveResponse)
    same("a lease that was made for it", left.grantedTTL, 60)
    first.revoke(left.ID)
    failure("an unlock of no key", lambda: first.unlock(b""), unknown, "etcdserver: key is not provided")


def check_elections(first, second):
    unknown = grpc.StatusCode.UNKNOWN
    lease, other = first.grant(), second.grant()
    failure("nobody leads", lambda: first.leader(b"e"), unknown, "election: no leader")
    stream = second.observe(b"e")
    leader = first.campaign(b"e", lease, b"one").leader
    same("the key of a leader", (leader.name, leader.key, leader.lease), (b"e", b"e/%x" % lease, lease))
    same("who leads", second.leader(b"e").kv.value, b"one")
    same("the first that is observed", next(stream).kv.value, b"one")
    second.proclaim(leader, b"more")
    same("a proclamation", next(stream).kv.value, b"more")
    waiting = in_background(lambda: second.campaign(b"e", other, b"two"))
    wait_until("a second key", lambda: len(first.get(b"e/", b"e0")) == 2)
    first.resign(leader)
    same("the next leader", waiting.get(timeout=PATIENCE_SECONDS).leader.key, b"e/%x" % other)
    same("is observed", next(stream).kv.value, b"two")
    failure("who has resigned", lambda: second.proclaim(leader, b"x"), unknown, "election: not leader")
    second.resign(leader)
    failure("nobody proclaims", lambda: second.proclaim(None, b"x"), unknown, '"leader" field must be provided')
    failure("nobody resigns", lambda: second.resign(None), unknown, '"leader" field must be provided')
    stream.cancel()
    first.revoke(lease)
    first.revoke(other)


# ---- leaders that die ----


class Run:
    def __init__(self, endpoints, seed):
        self.members = [Member(e) for e in endpoints]
        self.seed = seed
        self.stop = threading.Event()
        self.guard = threading.Lock()
        self.holder = None
        self.locks = {}    # caller -> how often it had the lock
        self.elected = []  # (create revision, value), as campaigns were answered
        self.observed = {}
        self.violations = []
        self.retries = 0

    def violation(self, text):
        with self.guard:
            self.violations.append(text)
        self.stop.set()

    def until_done(self, rng, action):
        """Through members at random, until it works: whatever is called here may be done twice."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return action(rng.choice(self.members))
            except grpc.RpcError as error:
                if time.monotonic() > limit:
                    self.violation(f"nothing works any more: {error.code()} {error.details()}")
                    raise
                with self.guard:
                    self.retries += 1
                time.sleep(0.02)

    def contend(self, name):
        rng = random.Random(f"{self.seed} {name}")
        lease = self.until_done(rng, lambda m: m.grant(600))
        self.locks[name] = 0
        while not self.stop.is_set():
            # A call that broke may have left its key, even with the lock: the same lease finds it.
            key = self.until_done(rng, lambda m: m.lock(b"shared", lease, 10)).key
            with self.guard:
                holder, self.holder = self.holder, name
            if holder is not None:
                self.violation(f"{name} got the lock that {holder} has")
            self.locks[name] += 1
            time.sleep(rng.uniform(0, 0.05))
            with self.guard:
                self.holder = None
            self.until_done(rng, lambda m: m.unlock(key))
        self.until_done(rng, lambda m: m.revoke_if_there(lease))

    def stand(self, name):
        rng = random.Random(f"{self.seed} {name}")
        number = 0
        lease = self.until_done(rng, lambda m: m.grant(600))
        while not self.stop.is_set():
            number += 1
            value = b"%s %d" % (name.encode(), number)
            leader = self.until_done(rng, lambda m: m.campaign(b"office", lease, value, 10)).leader
            with self.guard:
                self.elected.append((leader.rev, value))
            time.sleep(rng.uniform(0, 0.1))
            self.until_done(rng, lambda m: m.resign(leader))
        self.until_done(rng, lambda m: m.revoke_if_there(lease))

    def watch_office(self, number):
        """What it sees, in order; a stream that breaks is begun anew, and may tell the last one again."""
        seen = self.observed.setdefault(number, [])
        while not self.stop.is_set():
            stream = self.members[number].observe(b"office")
            stopper = threading.Thread(target=lambda: (self.stop.wait(), stream.cancel()), daemon=True)
            stopper.start()
            try:
                for answer in stream:
                    seen.append((answer.kv.create_revision, answer.kv.mod_revision, answer.kv.value))
            except grpc.RpcError:
                time.sleep(0.05)


def leader_of(members):
    for number, member in enumerate(members, 1):
        try:
            status = member.call("/etcdserverpb.Maintenance/Status", pb.StatusRequest(), pb.StatusResponse, 2)
            if status.leader == status.header.member_id:
                return number
        except grpc.RpcError:
            pass
    return None


def kill_leaders(options, run):
    kills = 0
    while kills < options.kills and not run.stop.is_set():
        time.sleep(1)
        leader = leader_of(run.members)
        if leader is None:
            continue
        subprocess.run(options.cluster.split() + ["kill", str(leader)], check=True, capture_output=True)
        time.sleep(0.8)
        subprocess.run(options.cluster.split() + ["restart", str(leader)], check=True, capture_output=True)
        kills += 1
    time.sleep(1.5)
    return kills


def check_observed(run):
    """Each observer saw revisions ascend, and no value that nobody was elected with."""
    elected = {value for _, value in run.elected}
    for number, seen in run.observed.items():
        revisions = [mod for _, mod, _ in seen]
        if revisions != sorted(revisions):
            run.violations.append(f"member {number + 1} told of leaders out of order: {seen}")
        terms = [create for create, _, _ in seen]
        if terms != sorted(terms):
            run.violations.append(f"member {number + 1} told of a leader after its successor: {seen}")
        strange = {value for _, _, value in seen} - elected
        if len(strange) > 2:  # those whose campaigns ended with the test
            run.violations.append(f"member {number + 1} told of {len(strange)} leaders that nobody elected: {strange}")
        if len(seen) < len(run.elected) / 4:
            run.violations.append(f"member {number + 1} told of {len(seen)} leaders of {len(run.elected)}")
    terms = [create for create, _ in sorted(run.elected)]
    if len(set(terms)) != len(terms):
        run.violations.append("two were elected with the same key")


def watchers_of(endpoint):
    text = urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=10).read().decode()
    return [line.split()[1] for line in text.splitlines() if line.startswith("etcd_debugging_mvcc_watcher_total ")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--cluster", required=True, help="the command that kills and restarts members")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    endpoints = options.endpoints.split(",")
    run = Run(endpoints, options.seed)
    # A thread that ends by mistake checks nothing any more.
    threading.excepthook = lambda failed: run.violation(f"{failed.thread.name} ended: {failed.exc_value!r}")
    for number, member in enumerate(run.members):
        check_locks(member, run.members[(number + 1) % len(run.members)])
        check_elections(member, run.members[(number + 1) % len(run.members)])

    threads = [threading.Thread(target=run.contend, args=(f"caller {i}",)) for i in range(5)]
    threads += [threading.Thread(target=run.stand, args=(f"candidate {i}",)) for i in range(3)]
    threads += [threading.Thread(target=run.watch_office, args=(i,)) for i in range(len(endpoints))]
    for thread in threads:
        thread.start()
    kills = kill_leaders(options, run)
    run.stop.set()
    for thread in threads:
        thread.join()
    check_observed(run)
    had = sum(run.locks.values())
    print(f"{kills} leaders killed; the lock was had {had} times, {len(run.elected)} were elected, {run.retries} calls were "
          f"made again, observers were told {[len(seen) for seen in run.observed.values()]} times")
    for text in run.violations:
        print(f"VIOLATION: {text}")
    if had < 20 or len(run.elected) < 10 or min(run.locks.values()) == 0:
        print(f"void: too little happened: {run.locks}")
        return 1
    if run.violations:
        return 1
    for member in run.members:
        wait_until("nothing is left of the locks", lambda m=member: not m.get(b"shared/", b"shared0"))
        wait_until("nothing is left of the elections", lambda m=member: not m.get(b"office/", b"office0"))
        wait_until("nobody watches any more", lambda m=member: watchers_of(m.endpoint) == ["0"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
