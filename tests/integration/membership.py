#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes all the time while members come and go; what was acknowledged must be there in the end.

The endpoints are the lines of a file, which the caller changes as the members change. It runs until its standard input
ends, reads every key that was acknowledged, and prints one line: writes, gap_ms (the longest time without any
acknowledged write), lost.
"""
import argparse
import os
import random
import sys
import threading
import time

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"
CALL_SECONDS = 2
PAUSE_SECONDS = 0.002  # between the writes of one writer: this is about going on, not about speed


class Run:
    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.channels = {}
        self.stop = threading.Event()
        self.acknowledged = {}
        self.last = time.monotonic()
        self.gap = 0

    def channel(self, endpoint):
        with self.lock:
            if endpoint not in self.channels:
                self.channels[endpoint] = grpc.insecure_channel(
                    endpoint, options=[("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)])
            return self.channels[endpoint]

    def endpoints(self):
        with open(self.path, encoding="utf-8") as lines:
            return lines.read().split()

    def call(self, method, request, answer_type):
        channel = self.channel(random.choice(self.endpoints()))
        return channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                   response_deserializer=answer_type.FromString)(request, timeout=CALL_SECONDS)

    def acknowledge(self, key, value):
        with self.lock:
            now = time.monotonic()
            self.acknowledged[key] = value
            self.gap = max(self.gap, now - self.last)
            self.last = now

    def end(self):
        """Also what has not come until now is a time without a write."""
        with self.lock:
            self.gap = max(self.gap, time.monotonic() - self.last)
        self.stop.set()

    def write(self, name):
        number = 0
        while not self.stop.is_set():
            number += 1
            key, value = f"w/{name}/{number}".encode(), f"{number}".encode()
            try:
                self.call(PUT, pb.PutRequest(key=key, value=value), pb.PutResponse)
                self.acknowledge(key, value)
            except grpc.RpcError:
                pass  # not acknowledged: it may be there or not
            time.sleep(PAUSE_SECONDS)

    def read_all(self):
        found = {}
        start = b"w/"
        while True:
            answer = self.patient_call(RANGE, pb.RangeRequest(key=start, range_end=b"w0", limit=5000), pb.RangeResponse)
            for kv in answer.kvs:
                found[kv.key] = kv.value
            if not answer.more:
                return found
            start = answer.kvs[-1].key + b"\0"

    def patient_call(self, method, request, answer_type):
        limit = time.monotonic() + 30
        while True:
            try:
                return self.call(method, request, answer_type)
            except grpc.RpcError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("endpoints", help="a file, one endpoint a line")
    options = parser.parse_args()
    run = Run(options.endpoints)
    writers = [threading.Thread(target=run.write, args=(i,)) for i in range(options.writers)]
    for writer in writers:
        writer.start()
    sys.stdin.read()
    run.end()
    for writer in writers:
        writer.join()
    found = run.read_all()
    lost = sum(found.get(key) != value for key, value in run.acknowledged.items())
    print(f"writes {len(run.acknowledged)} gap_ms {round(run.gap * 1000)} lost {lost}", flush=True)
    os._exit(0)  # channels that still connect would be waited for


if __name__ == "__main__":
    main()
