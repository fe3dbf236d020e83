# SPDX-License-Identifier: Apache-2.0
"""What the kill test sees beside reads and writes: watchers and leases.

Watchers follow all that is written, through members at random, and go on behind the last revision that they were told
when a stream breaks. Some leases are kept alive, the same way; every positive answer promises one for its TTL from then
on. Others are left alone from the start, and must end, but not before their TTL.
"""
import queue
import random
import threading
import time

import grpc
from etcd3.etcdrpc import kv_pb2, rpc_pb2 as pb

from cluster.calls import KV, retry

LEASE = "/etcdserverpb.Lease/"
KEPT_TTL = 20
SHORT_TTLS = (2, 3, 5)
LATE_SECONDS = 15  # beyond its TTL when nobody is killed: a few seconds, and what a busy machine adds


class Stream:
    """Requests on a stream, and its answers; cancelled when the event is set."""

    def __init__(self, channel, method, answer_type, ends):
        self.asked = queue.Queue()
        stream = channel.stream_stream(method, request_serializer=lambda m: m.SerializeToString(),
                                       response_deserializer=answer_type.FromString)
        self.answers = stream(iter(self.asked.get, None))
        self.over = threading.Event()
        threading.Thread(target=self.cancel_at, args=(ends,), daemon=True).start()

    def cancel_at(self, ends):
        while not self.over.is_set() and not ends.wait(0.1):
            pass
        self.answers.cancel()
        self.asked.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.over.set()


class Watcher:
    def __init__(self, witness, name):
        self.witness = witness
        self.name = name
        self.next = 1
        self.told = {}  # key under w/ -> revision
        self.broken = 0

    def follow(self):
        run = self.witness.run
        rng = random.Random(f"{run.seed} watch {self.name}")
        while not self.witness.finish.is_set():
            channel = rng.choice(run.members).channel
            with Stream(channel, "/etcdserverpb.Watch/Watch", pb.WatchResponse, self.witness.finish) as stream:
                create = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=self.next)
                stream.asked.put(pb.WatchRequest(create_request=create))
                try:
                    for answer in stream.answers:
                        if answer.canceled:
                            run.violation(f"watcher {self.name}: canceled at {self.next}: {answer.cancel_reason}")
                            return
                        self.take(answer.events)
                except grpc.RpcError:
                    self.broken += 1
                    time.sleep(0.02)

    def take(self, events):
        """All that one revision changed comes at once; each revision once, in order."""
        now = time.monotonic()
        run = self.witness.run
        last = self.next - 1
        for event in events:
            kv = event.kv
            if kv.mod_revision <= self.next - 1 or kv.mod_revision < last:
                run.violation(f"watcher {self.name}: told {kv.mod_revision} behind {max(last, self.next - 1)}")
            last = kv.mod_revision
            if kv.key.startswith(b"w/"):
                if kv.key in self.told:
                    run.violation(f"watcher {self.name}: told of {kv.key} twice")
                self.told[kv.key] = kv.mod_revision
            elif kv.key.startswith(b"lease/") and event.type == kv_pb2.Event.DELETE:
                self.witness.ended(int(kv.key[6:]), now)
        self.next = last + 1

    def check(self):
        run = self.witness.run
        wrong = [k for k, revision in run.acked.items() if self.told.get(k) != revision]
        if wrong:
            run.violations.append(f"watcher {self.name}: {len(wrong)} acknowledged puts were not told, or told elsewhere: "
                                  f"{[(k, run.acked[k], self.told.get(k)) for k in wrong[:3]]}")
        strange = [k for k in self.told if k not in run.acked and k not in run.unknown]
        if strange:
            run.violations.append(f"watcher {self.name}: told of keys that nobody wrote: {strange[:3]}")


class Witness:
    def __init__(self, run, watchers=3, kept=10):
        self.run = run
        self.finish = threading.Event()
        self.watchers = [Watcher(self, str(i)) for i in range(watchers)]
        self.kept_count = kept
        self.kept = []
        self.promised = {}  # lease -> monotonic time until which it must live
        self.gone = {}      # lease -> when that was first seen
        self.renewals = 0
        self.threads = []

    def start(self):
        self.kept = [self.grant(self.any_call, KEPT_TTL) for _ in range(self.kept_count)]
        self.threads = [threading.Thread(target=w.follow) for w in self.watchers]
        self.threads.append(threading.Thread(target=self.keep_alive))
        for thread in self.threads:
            thread.start()
        short = threading.Thread(target=self.grant_short)
        short.start()
        return [short]

    def any_call(self, method, request, answer_type):
        return retry(lambda: random.choice(self.run.members).call(method, request, answer_type))

    def grant(self, call, ttl):
        sent = time.monotonic()
        lease = call(LEASE + "LeaseGrant", pb.LeaseGrantRequest(TTL=ttl), pb.LeaseGrantResponse).ID
        self.promised[lease] = sent + ttl
        call(KV + "Put", pb.PutRequest(key=b"lease/%d" % lease, value=b"v", lease=lease), pb.PutResponse)
        return lease

    def grant_short(self):
        """Nobody keeps them alive."""
        rng = random.Random(f"{self.run.seed} leases")
        while not self.run.stop.is_set():
            try:
                self.grant(rng.choice(self.run.members).call, rng.choice(SHORT_TTLS))
            except grpc.RpcError:
                pass  # without its key: it has ended, or will, unseen
            time.sleep(0.2)

    def keep_alive(self):
        rng = random.Random(f"{self.run.seed} renewals")
        while not self.finish.is_set():
            channel = rng.choice(self.run.members).channel
            with Stream(channel, LEASE + "LeaseKeepAlive", pb.LeaseKeepAliveResponse, self.finish) as stream:
                try:
                    while not self.finish.is_set():
                        for lease in self.kept:
                            self.renew(stream, lease)
                        time.sleep(0.3)
                except (grpc.RpcError, StopIteration):
                    time.sleep(0.02)

    def renew(self, stream, lease):
        """The promise is counted from before its answer: from when it was asked for."""
        sent = time.monotonic()
        stream.asked.put(pb.LeaseKeepAliveRequest(ID=lease))
        ttl = next(stream.answers).TTL
        if ttl > 0:
            self.promised[lease] = sent + ttl
            self.renewals += 1
        elif sent < self.promised[lease]:
            self.run.violation(f"lease {lease} is gone {self.promised[lease] - sent:.1f} s before it was promised to be")

    def ended(self, lease, now):
        self.gone.setdefault(lease, now)
        if now < self.promised.get(lease, 0):
            self.run.violation(f"lease {lease} has ended {self.promised[lease] - now:.1f} s early")

    def end(self):
        """Nobody is killed any more, and nobody writes."""
        run = self.run
        last = [self.grant(self.any_call, ttl) for ttl in SHORT_TTLS]
        limit = time.monotonic() + max(SHORT_TTLS) + LATE_SECONDS
        ours = lambda: {lease.ID for lease in self.any_call(LEASE + "LeaseLeases", pb.LeaseLeasesRequest(),
                                                            pb.LeaseLeasesResponse).leases}
        while ours() - set(self.kept) and time.monotonic() < limit:
            time.sleep(0.1)
        late = ours() - set(self.kept)
        if late:
            run.violations.append(f"{len(late)} leases that nobody keeps alive are still there")
        lost = set(self.kept) - ours()
        if any(time.monotonic() < self.promised[lease] for lease in lost):
            run.violations.append(f"{len(lost)} leases that were kept alive have ended")
        newest = retry(lambda: random.choice(run.members).put(b"w/end", b"w/end"))
        run.acked[b"w/end"] = newest
        patience = time.monotonic() + 90
        while any(w.next <= newest for w in self.watchers) and time.monotonic() < patience and not run.violations:
            time.sleep(0.05)
        self.finish.set()
        for thread in self.threads:
            thread.join()
        for watcher in self.watchers:
            watcher.check()
        if any(lease not in self.gone for lease in last):
            run.violations.append("the end of a lease was not told")
        if len({tuple(sorted(w.told.items())) for w in self.watchers}) != 1:
            run.violations.append("the watchers were not told the same")
        if self.renewals < 3 * len(self.kept):
            run.violations.append(f"only {self.renewals} renewals: the run is void")

    def summary(self):
        return (f"{len(self.watchers)} watchers were told of {len(self.watchers[0].told)} puts over "
                f"{sum(w.broken for w in self.watchers)} broken streams; {len(self.kept)} leases were renewed {self.renewals} "
                f"times, {len(self.gone)} others ended")
