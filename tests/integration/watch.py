#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One watch stream, request by request, through the messages of python3-etcd3: watch.py ENDPOINTS.

Ends with status 1 and says what differs when an answer is not what etcd's would be.
"""
import queue
import sys

import grpc
from etcd3.etcdrpc import kv_pb2, rpc_pb2 as rpc, rpc_pb2_grpc

PUT, DELETE = kv_pb2.Event.PUT, kv_pb2.Event.DELETE


class Stream:
    """What is asked goes into a queue, what comes is taken one by one."""

    def __init__(self, channel):
        self.asked = queue.Queue()
        self.answers = rpc_pb2_grpc.WatchStub(channel).Watch(iter(self.asked.get, None), timeout=60)

    def create(self, **fields):
        self.asked.put(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(**fields)))

    def cancel(self, watch_id):
        self.asked.put(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)))

    def take(self):
        return next(self.answers)


def same(what, got, want):
    if got != want:
        print(f"{what}: got {got!r}, expected {want!r}")
        sys.exit(1)


def events_of(answer):
    return [(e.type, e.kv.key, e.kv.value, e.kv.mod_revision, e.prev_kv.value) for e in answer.events]


def take_events(stream, watch_id, count):
    """So many events of the watcher, however they are parted."""
    events = []
    while len(events) < count:
        answer = stream.take()
        same("watch id", answer.watch_id, watch_id)
        same("a watcher that goes on", (answer.created, answer.canceled), (False, False))
        events += events_of(answer)
    return events


def check_stream(kv, stream):
    put = lambda key, value: kv.Put(rpc.PutRequest(key=key, value=value)).header.revision
    first = put(b"py/a", b"1")
    second = put(b"py/a", b"2")
    third = kv.DeleteRange(rpc.DeleteRangeRequest(key=b"py/a")).header.revision

    stream.create(key=b"py/a", start_revision=first, prev_kv=True)
    created = stream.take()
    same("created", (created.created, created.watch_id, created.header.revision >= third), (True, 0, True))
    same("history", take_events(stream, 0, 3),
         [(PUT, b"py/a", b"1", first, b""), (PUT, b"py/a", b"2", second, b"1"), (DELETE, b"py/a", b"", third, b"2")])

    stream.create(key=b"py/", range_end=b"py0", filters=[rpc.WatchCreateRequest.NOPUT])
    same("the next id", stream.take().watch_id, 1)
    stream.cancel(0)
    canceled = stream.take()
    same("canceled", (canceled.canceled, canceled.watch_id), (True, 0))
    put(b"py/b", b"x")
    fourth = kv.DeleteRange(rpc.DeleteRangeRequest(key=b"py/b")).header.revision
    same("only deletions", take_events(stream, 1, 1), [(DELETE, b"py/b", b"", fourth, b"")])
    stream.cancel(1)
    same("canceled", stream.take().canceled, True)

    stream.create(key=b"b", range_end=b"a")
    refused = stream.take()
    same("an empty range", (refused.created, refused.canceled, refused.watch_id), (True, True, -1))

    stream.create(key=b"py/quiet", progress_notify=True)
    watch_id = stream.take().watch_id
    notice = stream.take()  # --watch-progress-notify-interval=200ms
    same("a notice", (notice.watch_id, len(notice.events), notice.header.revision >= fourth), (watch_id, 0, True))
    stream.cancel(watch_id)
    while not stream.take().canceled:
        pass

    kv.Compact(rpc.CompactionRequest(revision=fourth))
    stream.create(key=b"py/a", start_revision=first)
    same("created all the same", stream.take().created, True)
    compacted = stream.take()
    same("compacted", (compacted.canceled, compacted.compact_revision), (True, fourth))


def check_order(kv, stream):
    """A transaction's changes come together, all in order."""
    stream.create(key=b"t/", range_end=b"t0")
    watch_id = stream.take().watch_id
    for n in range(50):
        puts = [rpc.RequestOp(request_put=rpc.PutRequest(key=b"t/%d" % i, value=b"%d" % n)) for i in range(5)]
        kv.Txn(rpc.TxnRequest(success=puts))
    seen = []
    while len(seen) < 250:
        answer = stream.take()
        same("watch id", answer.watch_id, watch_id)
        revisions = [e.kv.mod_revision for e in answer.events]
        same("whole revisions", [revisions.count(r) for r in set(revisions)], [5] * len(set(revisions)))
        seen += revisions
    same("ascending", seen, sorted(seen))


def main():
    for endpoint in sys.argv[1].split(","):
        with grpc.insecure_channel(endpoint) as channel:
            kv = rpc_pb2_grpc.KVStub(channel)
            stream = Stream(channel)
            check_stream(kv, stream)
            check_order(kv, stream)


main()
