#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What programs do with python3-etcd3, each part through one member, checked through another: python_client.py ENDPOINTS.

A line for each part that is right; ends with a traceback at the first that is not.
"""
import itertools
import os
import queue
import sys
import traceback
import warnings

warnings.simplefilter("ignore")  # the library is older than the protobuf of this system

import etcd3

PATIENCE_SECONDS = 60  # for what must come, however busy the machine is


def connect(endpoint):
    host, port = endpoint.split(":")
    return etcd3.client(host=host, port=int(port), timeout=PATIENCE_SECONDS)


def same(got, want):
    assert got == want, f"got {got!r}, expected {want!r}"


def check_keys(one, other):
    one.put("k/a", "1")
    one.put("k/b", b"\0\xff" * 1000)
    same(other.get("k/a")[0], b"1")
    same(other.get("k/b")[0], b"\0\xff" * 1000)
    same(other.get("k/none"), (None, None))
    same([meta.key for _, meta in other.get_prefix("k/", sort_order="descend", sort_target="key")], [b"k/b", b"k/a"])
    meta = other.get("k/a")[1]
    same((meta.version, meta.create_revision), (1, meta.mod_revision))
    assert one.replace("k/a", "1", "2") and not one.replace("k/a", "1", "3")
    assert not one.put_if_not_exists("k/a", "4") and one.put_if_not_exists("k/c", "5")
    same([value for value, _ in other.get_range("k/a", "k/d")], [b"2", b"\0\xff" * 1000, b"5"])
    same(one.delete_prefix("k/").deleted, 3)
    same(list(other.get_all()), [])
    assert one.delete("k/a") is False


def check_transactions(one, other):
    succeeded, answers = one.transaction(
        compare=[one.transactions.version("t") == 0],
        success=[one.transactions.put("t", "made"), one.transactions.get("t")],
        failure=[])
    same((succeeded, answers[1][0][0]), (True, b"made"))
    succeeded, answers = other.transaction(
        compare=[other.transactions.value("t") == "else", other.transactions.create("t") > 0],
        success=[], failure=[other.transactions.delete("t")])
    same((succeeded, one.get("t")[0]), (False, None))


def check_watches(one, other):
    events, cancel = one.watch_prefix("w/")
    first = other.put("w/a", "1").header.revision
    other.put("w/b", "2")
    other.delete("w/a")
    same([(type(e).__name__, e.key, e.value) for e in itertools.islice(events, 3)],
         [("PutEvent", b"w/a", b"1"), ("PutEvent", b"w/b", b"2"), ("DeleteEvent", b"w/a", b"")])
    cancel()
    events, cancel = other.watch("w/a", start_revision=first)
    same([type(e).__name__ for e in itertools.islice(events, 2)], ["PutEvent", "DeleteEvent"])
    cancel()
    told = queue.Queue()
    watch_id = one.add_watch_callback("w/c", told.put)
    other.put("w/c", "3")
    same([e.value for e in told.get(timeout=PATIENCE_SECONDS).events], [b"3"])
    one.cancel_watch(watch_id)
    one.compact(other.get("w/b")[1].mod_revision + 2)
    try:
        next(one.watch("w/a", start_revision=first)[0])
        raise AssertionError("a watch of what was compacted goes on")
    except etcd3.exceptions.RevisionCompactedError as error:
        same(error.compacted_revision, other.get("w/b")[1].mod_revision + 2)


def check_leases(one, other):
    lease = one.lease(600)
    one.put("l/a", "1", lease=lease)
    info = other.get_lease_info(lease.id)
    same((info.grantedTTL, list(info.keys), 590 < info.TTL <= 600), (600, [b"l/a"], True))
    same([answer.TTL for answer in lease.refresh()], [600])
    lease.revoke()
    same(other.get("l/a"), (None, None))
    short = other.lease(2)
    gone, cancel = one.watch("l/b")
    other.put("l/b", "1", lease=short.id)
    same([type(e).__name__ for e in itertools.islice(gone, 2)], ["PutEvent", "DeleteEvent"])
    cancel()


def check_locks(one, other):
    """The library's own recipe: a key with a lease, made if it is not there. Debian's version cannot wait for one
    that is held: its callback does not fit its tenacity."""
    first = one.lock("door", ttl=600)
    assert first.acquire(timeout=PATIENCE_SECONDS) and first.is_acquired()
    second = other.lock("door", ttl=600)
    assert not second.acquire(timeout=0)
    assert first.release()
    assert second.acquire(timeout=PATIENCE_SECONDS)
    assert second.is_acquired() and not first.is_acquired()
    with one.lock("window", ttl=600) as window:
        assert window.is_acquired()
    assert second.release()


def check_cluster(one, other):
    names = sorted(member.name for member in one.members)
    same(len(names), 3)
    status = other.status()
    assert status.leader.name in names and status.db_size > 0
    same(list(one.list_alarms()), [])
    one.defragment()
    assert one.hash() >= 0


def main():
    clients = [connect(endpoint) for endpoint in sys.argv[1].split(",")]
    checks = [check_keys, check_transactions, check_watches, check_leases, check_locks, check_cluster]
    for number, check in enumerate(checks):
        check(clients[number % len(clients)], clients[(number + 1) % len(clients)])
        print(f"python3-etcd3: {check.__name__[len('check_'):]}", flush=True)


if __name__ == "__main__":
    status = 1
    try:
        main()
        status = 0
    except Exception:  # whatever it is, it is told
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)  # the library's threads outlive its clients, and can hold up an orderly end
