#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that mean harm, or know no better, beside one that works: hostile.py --endpoint HOST:PORT --pid PID.

The working client puts and watches all the time. Meanwhile others create 100,000 watchers and read nothing, cancel what does
not exist, send garbage on a stream that was good, are cut off while they wait for a lock, and open what they never use.
Nobody but they may notice: every event comes, once and in order, every put is answered, memory stays within a bound, and
when they are gone nothing of theirs is left.
"""
import argparse
import os
import queue
import socket
import struct
import sys
import threading
import time
import urllib.request

os.environ["GRPC_VERBOSITY"] = "NONE"

import grpc
from etcd3.etcdrpc import rpc_pb2 as rpc, rpc_pb2_grpc

PATIENCE_SECONDS = 60  # for what must come, however busy the machine is
WATCHERS = 100000
NOISY_CONNECTIONS, NOISY_STREAMS = 12, 50  # of these with a watcher each of what is put; 6 GB, were it kept for each
MEMORY_MIB_MAX = 256


def fail(text):
    print(text, flush=True)
    os._exit(1)  # threads are under way


def wait_until(what, condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            fail(f"never: {what}")
        time.sleep(0.02)  # between questions, not in the hope that something has happened


class Member:
    def __init__(self, endpoint, pid):
        self.endpoint = endpoint
        self.pid = pid

    def metric(self, name):
        with urllib.request.urlopen(f"http://{self.endpoint}/metrics", timeout=PATIENCE_SECONDS) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        fail(f"no metric {name}")

    def watchers(self):
        return self.metric("etcd_debugging_mvcc_watcher_total")

    def memory_mib(self, name="VmRSS"):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) / 1024
        fail("no memory is told: the member is gone")


# ---- HTTP/2 by hand, for what a gRPC library does not do ----

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, content):
    """A field of bytes, or of a number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


class Rude:
    """A connection that is not read beyond the first frame, which must be answered before the member's windows hold."""

    def __init__(self, endpoint):
        host, port = endpoint.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        # INITIAL_WINDOW_SIZE: the member may send as much as the socket takes
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x7fffffff)))
        head = self.socket.recv(9, socket.MSG_WAITALL)
        self.socket.recv(int.from_bytes(head[:3], "big"), socket.MSG_WAITALL)
        self.send(frame(SETTINGS, ACK, 0, b""))
        self.next_stream = 1

    def send(self, data):
        self.socket.sendall(data)

    def open(self, path):
        """Headers without an end: literal, nothing indexed, no Huffman codes."""
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
                   ("content-type", "application/grpc"), ("te", "trailers")]
        block = b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in headers)
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.send(frame(HEADERS, END_HEADERS, stream, block))
        return stream

    def messages(self, stream, messages):
        """As few frames as hold them."""
        data = b"".join(b"\0" + struct.pack(">I", len(message)) + message for message in messages)
        self.send(b"".join(frame(DATA, 0, stream, data[at:at + 16384]) for at in range(0, len(data), 16384)))

    def cut(self):
        """Without a farewell: a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


WATCH = "/etcdserverpb.Watch/Watch"
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
LOCK = "/v3lockpb.Lock/"


def create_request(**fields):
    return rpc.WatchRequest(create_request=rpc.WatchCreateRequest(**fields)).SerializeToString()


def cancel_request(watch_id):
    return rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)).SerializeToString()


# ---- who works ----

class Worker(threading.Thread):
    """Puts one after the other, and watches what it puts."""

    def __init__(self, endpoint):
        super().__init__(daemon=True)
        self.channel = grpc.insecure_channel(endpoint, options=[("grpc.use_local_subchannel_pool", 1)])
        self.kv = rpc_pb2_grpc.KVStub(self.channel)
        self.stop = threading.Event()
        self.put = []  # revisions
        self.seen = []
        self.slowest = 0
        asked = queue.Queue()
        asked.put(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"good/", range_end=b"good0")))
        self.events = rpc_pb2_grpc.WatchStub(self.channel).Watch(iter(asked.get, None))
        if not next(self.events).created:
            fail("the worker's watcher is not created")
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def watch(self):
        try:
            for answer in self.events:
                self.seen += [event.kv.mod_revision for event in answer.events]
        except grpc.RpcError as error:
            if not self.stop.is_set():
                fail(f"the worker's watch ended: {error.details()}")

    def run(self):
        while not self.stop.is_set():
            begin = time.monotonic()
            try:
                answer = self.kv.Put(rpc.PutRequest(key=b"good/%d" % (len(self.put) % 10), value=b"v" * 100), timeout=PATIENCE_SECONDS)
            except grpc.RpcError as error:
                fail(f"a put failed: {error.code()}: {error.details()}")
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.put.append(answer.header.revision)

    def check(self):
        self.stop.set()
        self.join()
        wait_until("the last event", lambda: self.seen and self.seen[-1] == self.put[-1])
        if self.seen != self.put:
            fail(f"{len(self.put)} puts, {len(self.seen)} events: not the same, or not in order")
        self.events.cancel()


# ---- who does not ----

def watch_without_reading(member, kv):
    """A connection with 100,000 watchers of a key each, and others with streams that watch what many put."""
    quiet = Rude(member.endpoint)
    for part in range(4):
        quiet.messages(quiet.open(WATCH), [create_request(key=b"h/%d" % number) for number in range(part, WATCHERS, 4)])
    noisy = [Rude(member.endpoint) for _ in range(NOISY_CONNECTIONS)]
    for rude in noisy:
        for _ in range(NOISY_STREAMS):
            rude.messages(rude.open(WATCH), [create_request(key=b"noise/", range_end=b"noise0")])
    wait_until("100,000 watchers", lambda: member.watchers() >= WATCHERS + NOISY_CONNECTIONS * NOISY_STREAMS + 1)
    value = b"n" * 100000
    revisions = [kv.Put(rpc.PutRequest(key=b"noise/%d" % (number % 7), value=value), timeout=PATIENCE_SECONDS).header.revision
                 for number in range(100)]
    read_noise(member, revisions)
    return [quiet] + noisy


def read_noise(member, revisions):
    """Who does read is told all of it."""
    asked = queue.Queue()
    asked.put(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"noise/", range_end=b"noise0", start_revision=revisions[0])))
    seen = []
    with grpc.insecure_channel(member.endpoint) as channel:
        answers = rpc_pb2_grpc.WatchStub(channel).Watch(iter(asked.get, None), timeout=PATIENCE_SECONDS)
        while len(seen) < len(revisions):
            seen += [event.kv.mod_revision for event in next(answers).events]
        answers.cancel()
    if seen != revisions:
        fail(f"who reads is told {seen}, expected {revisions}")


def cancel_unknown(member):
    """100,000 times; then the stream still does what it is asked."""
    rude = Rude(member.endpoint)
    rude.messages(rude.open(WATCH), [cancel_request(number) for number in range(1, WATCHERS)])
    asked = queue.Queue()
    with grpc.insecure_channel(member.endpoint) as channel:
        answers = rpc_pb2_grpc.WatchStub(channel).Watch(iter(asked.get, None), timeout=PATIENCE_SECONDS)
        for number in (7, -1, 1 << 62):
            asked.put(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=number)))
        asked.put(rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"u")))
        first = next(answers)
        if (first.created, first.canceled, first.watch_id) != (True, False, 0):
            fail(f"after unknown ids were cancelled: {first}")
        answers.cancel()
    return rude


def send_garbage(member):
    """A watcher, then what is no message: the stream ends with an error, and its watcher with it."""
    asked = queue.Queue()
    before = member.watchers()
    with grpc.insecure_channel(member.endpoint) as channel:
        answers = channel.stream_stream(WATCH)(iter(asked.get, None), timeout=PATIENCE_SECONDS)
        asked.put(create_request(key=b"g"))
        created = rpc.WatchResponse.FromString(next(answers))
        if not created.created or member.watchers() != before + 1:
            fail(f"no watcher: {created}")
        asked.put(b"\xff" * 64)
        try:
            fail(f"garbage was answered: {next(answers)}")
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT):
                fail(f"garbage ended with {error.code()}: {error.details()}")
        wait_until("the watcher of a broken stream is gone", lambda: member.watchers() == before)


def be_cut_in_a_lock(member, kv):
    """Who waits for a lock and is cut off does not wait any more: its key is gone."""
    def waiting():
        return kv.Range(rpc.RangeRequest(key=b"L/", range_end=b"L0", count_only=True), timeout=PATIENCE_SECONDS).count

    def lock_request(lease):
        return field(1, b"L") + field(2, lease)

    with grpc.insecure_channel(member.endpoint) as channel:
        leases = rpc_pb2_grpc.LeaseStub(channel)
        for lease in (7001, 7002, 7003):
            leases.LeaseGrant(rpc.LeaseGrantRequest(ID=lease, TTL=600), timeout=PATIENCE_SECONDS)
        lock = channel.unary_unary(LOCK + "Lock")
        lock(lock_request(7001), timeout=PATIENCE_SECONDS)
        rude = Rude(member.endpoint)
        stream = rude.open(LOCK + "Lock")
        rude.messages(stream, [lock_request(7002)])
        rude.send(frame(DATA, END_STREAM, stream, b""))
        wait_until("two stand in line", lambda: waiting() == 2)
        rude.cut()
        wait_until("who was cut off has left the line", lambda: waiting() == 1)
        third = lock.future(lock_request(7003), timeout=PATIENCE_SECONDS)
        wait_until("another stands in line", lambda: waiting() == 2)
        for lease in (7001, 7002):  # whose keys end with them
            leases.LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease), timeout=PATIENCE_SECONDS)
        third.result()
        leases.LeaseRevoke(rpc.LeaseRevokeRequest(ID=7003), timeout=PATIENCE_SECONDS)


def open_and_leave(member):
    """Connections that say nothing, streams that ask for nothing, half a message."""
    host, port = member.endpoint.split(":")
    left = [socket.create_connection((host, int(port))) for _ in range(100)]
    rude = Rude(member.endpoint)
    for number in range(2000):
        rude.open(WATCH if number % 2 == 0 else KEEP_ALIVE)
    rude.send(frame(DATA, 0, rude.open(WATCH), b"\0\0\1\0\0half"))
    return [rude] + left


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--pid", type=int, required=True)
    options = parser.parse_args()
    member = Member(options.endpoint, options.pid)
    worker = Worker(member.endpoint)
    worker.start()
    wait_until("the worker's watcher", lambda: member.watchers() == 1)

    left = watch_without_reading(member, worker.kv)
    left += [cancel_unknown(member)]
    left += open_and_leave(member)
    send_garbage(member)
    be_cut_in_a_lock(member, worker.kv)
    done = len(worker.put)
    wait_until("the worker goes on", lambda: len(worker.put) > done + 10)
    peak = member.memory_mib("VmHWM")
    for rude in left:
        rude.cut() if isinstance(rude, Rude) else rude.close()
    wait_until("their watchers are gone", lambda: member.watchers() == 1)
    worker.check()
    wait_until("all watchers are gone", lambda: member.watchers() == 0)
    wait_until("all streams are gone", lambda: member.metric("etcd_debugging_mvcc_watch_stream_total") == 0)
    wait_until("their memory is given back", lambda: member.metric("trivet_watch_bytes") == 0)
    print(f"{len(worker.put)} puts, the slowest {worker.slowest * 1000:.0f} ms; at most {peak:.0f} MiB, {member.memory_mib():.0f} in the end")
    if peak > MEMORY_MIB_MAX:
        fail(f"the member had {peak:.0f} MiB")
    if worker.slowest > PATIENCE_SECONDS / 6:
        fail("a put was too slow")


main()
