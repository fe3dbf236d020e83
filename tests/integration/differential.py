#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The same random KV operations to a reference etcd and to the members of a cluster under test.

Whole answers and whole errors are compared, and HashKV at random revisions. Only what must differ is taken out before:
ids and terms of headers, and the lease of keys-only answers (absent since etcd 3.7, present in 3.4). One client, one
operation at a time, so that both sides go through the same revisions. Prints the seed and the first difference in full.
"""
import argparse
import random
import sys

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

KV = "/etcdserverpb.KV/"
MAINTENANCE = "/etcdserverpb.Maintenance/"

# No more than a dozen keys: up to there Go's sort keeps the order of equal elements, so that sorted answers are
# comparable. Among them keys that are prefixes of others, and the bytes at both ends.
KEYS = [b"a", b"a\x00", b"aa", b"ab", b"b", b"b\xff", b"b\xff\xff", b"c", b"\x00", b"\xff", b"zz"]
VALUES = [b"", b"v", b"w", b"value", b"\x00\xff", b"x" * 300]


class Generator:
    """Random requests; the revisions are the generator's idea of where the store is."""

    def __init__(self, rng):
        self.rng = rng
        self.revision = 1
        self.compacted = 0
        self.deletes = True  # may the txn at hand delete?

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def key(self):
        return b"" if self.chance(1) else self.rng.choice(KEYS)

    def range_end(self, key):
        kind = self.rng.randrange(6)
        if kind <= 1:
            return b""
        if kind == 2:
            return b"\x00"
        if kind == 3:
            return key[:-1] + bytes([key[-1] + 1]) if key and key[-1] < 255 else b"\x00"
        return self.rng.choice(KEYS)

    def some_revision(self):
        kind = self.rng.randrange(12)
        if kind == 0:
            return self.revision + self.rng.randrange(1, 3)
        if kind == 1:
            return self.rng.randrange(-2, 1)
        if kind == 2:
            return max(0, self.compacted + self.rng.randrange(-1, 2))
        low = max(1, self.revision - 40)
        return self.rng.randrange(low, self.revision + 1)

    def range(self, in_txn=False):
        key = self.key()
        request = pb.RangeRequest(key=key, range_end=self.range_end(key))
        if self.chance(30):
            request.limit = self.rng.randrange(-1, 6)
        if self.chance(35):
            request.revision = self.some_revision()
        if self.chance(40):
            request.sort_order = self.rng.randrange(3)
            request.sort_target = self.rng.randrange(5)
        if self.chance(15):
            for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
                if self.chance(40):
                    setattr(request, name, max(0, self.revision - self.rng.randrange(30)))
        request.keys_only = self.chance(15)
        request.count_only = self.chance(10)
        if not in_txn:
            request.serializable = self.chance(20)
        return request

    def put(self, may_ignore=True):
        request = pb.PutRequest(key=self.key(), value=self.rng.choice(VALUES), prev_kv=self.chance(30))
        if may_ignore and self.chance(6):
            request.ignore_value = True
            if self.chance(90):
                request.value = b""
        if may_ignore and self.chance(6):
            request.ignore_lease = True
        if self.chance(3):
            request.lease = self.rng.choice([1, 77, -5])
        return request

    def delete_range(self):
        key = self.key()
        end = self.range_end(key) if self.chance(40) else b""
        return pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=self.chance(40))

    def compare(self):
        key = self.key()
        compare = pb.Compare(key=key, result=self.rng.randrange(4), target=self.rng.randrange(4))
        if self.chance(25):
            compare.range_end = self.range_end(key)
        member = compare.target if self.chance(95) else self.rng.randrange(4)
        revision = max(0, self.revision - self.rng.randrange(12)) if self.chance(80) else 0
        if member == 0:
            compare.version = self.rng.randrange(4)
        elif member == 1:
            compare.create_revision = revision
        elif member == 2:
            compare.mod_revision = revision
        else:
            compare.value = self.rng.choice(VALUES)
        return compare

    def op(self, depth):
        kind = self.rng.randrange(10)
        if kind < 4:
            # etcd 3.4 ends itself when a txn deletes a key and then puts it with ignore_value or ignore_lease, which a
            # delete to the end of all keys and nested txns allow: so either the one or the other.
            return pb.RequestOp(request_put=self.put(may_ignore=not self.deletes))
        if kind < 6:
            return pb.RequestOp(request_range=self.range(in_txn=True))
        if kind < 8 and self.deletes:
            return pb.RequestOp(request_delete_range=self.delete_range())
        if depth >= 3:
            return pb.RequestOp(request_put=self.put(may_ignore=not self.deletes))
        if kind == 8 and self.chance(5):
            return pb.RequestOp()
        return pb.RequestOp(request_txn=self.txn(depth + 1))

    def txn(self, depth=0):
        def some(make, most):
            return [make() for _ in range(self.rng.randrange(most))]

        if depth == 0:
            self.deletes = self.chance(80)
        request = pb.TxnRequest(compare=some(self.compare, 3), success=some(lambda: self.op(depth), 4),
                                failure=some(lambda: self.op(depth), 4))
        if depth == 0 and self.chance(0.5):
            request.compare.extend(self.compare() for _ in range(129))
        return request

    def compaction(self):
        if self.chance(80):
            revision = max(self.compacted + 1, self.revision - self.rng.randrange(30))
        else:
            revision = self.revision + self.rng.randrange(-60, 2)
        return pb.CompactionRequest(revision=revision, physical=self.chance(50))

    def next(self):
        """(method, request, answer type)"""
        kind = self.rng.randrange(1000)
        if kind < 330:
            return KV + "Put", self.put(), pb.PutResponse
        if kind < 600:
            return KV + "Range", self.range(), pb.RangeResponse
        if kind < 700:
            return KV + "DeleteRange", self.delete_range(), pb.DeleteRangeResponse
        if kind < 960:
            return KV + "Txn", self.txn(), pb.TxnResponse
        if kind < 970:
            return KV + "Compact", self.compaction(), pb.CompactionResponse
        revision = 0 if self.chance(40) else self.some_revision()
        return MAINTENANCE + "HashKV", pb.HashKVRequest(revision=revision), pb.HashKVResponse


class Side:
    def __init__(self, endpoints):
        self.channels = [grpc.insecure_channel(e) for e in endpoints]
        self.calls = {}

    def call(self, index, method, request, answer_type):
        key = (index, method)
        if key not in self.calls:
            self.calls[key] = self.channels[index].unary_unary(
                method, request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer_type.FromString)
        try:
            return self.calls[key](request, timeout=20), None
        except grpc.RpcError as error:
            return None, (error.code().name, error.details())


def keys_only_answers(request, answer):
    """The Range answers inside ANSWER that were asked keys-only."""
    if isinstance(answer, pb.RangeResponse):
        if request.keys_only:
            yield answer
    elif isinstance(answer, pb.TxnResponse):
        ops = request.success if answer.succeeded else request.failure
        for op, response in zip(ops, answer.responses):
            name = response.WhichOneof("response")
            if name in ("response_range", "response_txn"):
                yield from keys_only_answers(getattr(op, name.replace("response", "request")), getattr(response, name))


def normalise(request, answer):
    if answer is None:
        return None
    answer.header.ClearField("cluster_id")
    answer.header.ClearField("member_id")
    answer.header.ClearField("raft_term")
    for found in keys_only_answers(request, answer):
        for kv in found.kvs:
            kv.ClearField("lease")
    answer.DiscardUnknownFields()
    return answer


def is_local(method, request):
    """Is it answered from the member's own state, which may lag behind? HashKV is, and so are serializable reads, among
    them a txn without any operation."""
    if method.endswith("HashKV"):
        return True
    if isinstance(request, pb.TxnRequest):
        return not any(not op.request_range.serializable for op in list(request.success) + list(request.failure))
    return getattr(request, "serializable", False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", required=True, help="endpoint of the reference etcd")
    parser.add_argument("--endpoints", required=True, help="endpoints under test, separated by commas")
    parser.add_argument("--ops", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    generator = Generator(rng)
    reference = Side([options.reference])
    tested = Side(options.endpoints.split(","))
    counts = {}
    last = 0
    print(f"seed {options.seed}", flush=True)
    for number in range(options.ops):
        method, request, answer_type = generator.next()
        # A local read must go where the last write was applied; anything else goes anywhere.
        index = last if is_local(method, request) else rng.randrange(len(tested.channels))
        want, want_error = reference.call(0, method, request, answer_type)
        got, got_error = tested.call(index, method, request, answer_type)
        want, got = normalise(request, want), normalise(request, got)
        if want != got or want_error != got_error:
            print(f"difference at operation {number}, member {index + 1}, seed {options.seed}\n{method}\n{request}")
            print(f"-- reference: {want_error}\n{want}\n-- tested: {got_error}\n{got}")
            return 1
        outcome = (method.split("/")[-1], "ok" if want_error is None else want_error[1])
        counts[outcome] = counts.get(outcome, 0) + 1
        if want is not None:
            generator.revision = max(generator.revision, want.header.revision)
            last = index
            if method.endswith("Compact"):
                generator.compacted = request.revision
    for outcome, count in sorted(counts.items()):
        print(f"{count:8} {outcome[0]:12} {outcome[1]}")
    print(f"{options.ops} operations, no difference; revision {generator.revision}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
