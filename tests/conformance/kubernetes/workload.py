# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes' controllers do, as clients of its API server, and whether they were told the truth.

Objects are ConfigMaps of one namespace. Each has one writer, which creates, updates and deletes it, always on the condition of
the version it knows; some increment one counter together, as leader election does its Lease. Watchers follow all of it and come back
where they were. Lists, whole and in pages, are compared with what the watchers were told.
"""
import http.client
import json
import random
import ssl
import threading
import time

NAMESPACE = "/api/v1/namespaces/default/configmaps"
PATIENCE_SECONDS = 120


class Api:
    """A connection, made anew when it breaks; of one thread."""

    def __init__(self, port, token):
        self.port = port
        self.headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        self.connection = None

    def open(self, timeout):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)

    def call(self, method, path, body=None):
        """(status, answer); status 0: nobody knows what became of it."""
        try:
            if self.connection is None:
                self.connection = self.open(timeout=20)
            self.connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            response = self.connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text.startswith(b"{") else text.decode()
        except (OSError, http.client.HTTPException) as error:
            self.connection = None
            return 0, str(error)

    def must(self, method, path, body=None):
        """The answer to what may be asked again until there is one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            status, answer = self.call(method, path, body)
            if 200 <= status < 300 or status == 404:
                return status, answer
            time.sleep(0.1)
        raise TimeoutError(f"{method} {path}: {status} {answer}")

    def lines(self, path):
        connection = self.open(timeout=30)
        connection.request("GET", path, None, self.headers)
        response = connection.getresponse()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        while line := response.readline():
            yield json.loads(line)


def revision_of(item):
    return int(item["metadata"]["resourceVersion"])


def value_of(item):
    return item.get("data", {}).get("n")


def config_map(name, value, revision=None):
    metadata = {"name": name}
    if revision is not None:
        metadata["resourceVersion"] = str(revision)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": value}}


class Workload:
    def __init__(self, port, token, seed, writers, objects):
        self.new_api = lambda: Api(port, token)
        self.rng = random.Random(seed)
        self.objects = objects
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.wrong = []
        self.told = {}          # revision: (name, value) of each acknowledged write of the writers; value None: deleted
        self.reads = []         # (revision before, list's revision, {name: value}) of lists
        self.unknown = 0
        self.added, self.may_be_added = 0, 0
        _, first = self.new_api().must("GET", NAMESPACE)
        self.first = int(first["metadata"]["resourceVersion"])
        self.first_items = {item["metadata"]["name"]: value_of(item) for item in first["items"]}
        self.watchers = [Watcher(self) for _ in range(2)]
        self.new_api().must("POST", NAMESPACE, config_map("counter", "0"))
        jobs = [(self.write, i) for i in range(writers)] + [(self.count, i) for i in range(3)] + [(self.list, i) for i in range(2)]
        self.threads = [threading.Thread(target=self.guarded, args=job) for job in jobs]
        for thread in self.threads:
            thread.start()

    def guarded(self, job, number):
        try:
            job(number, random.Random(self.rng.random() + number))
        except Exception as error:  # a thread that ends is something wrong
            self.fault(f"{job.__name__} {number}: {error!r}")

    def fault(self, text):
        with self.lock:
            self.wrong.append(text)

    def acknowledge(self, revision, name, value):
        with self.lock:
            if revision in self.told:
                self.wrong.append(f"revision {revision} was given to two writes: {self.told[revision]}, {(name, value)}")
            self.told[revision] = (name, value)

    # ---- writers ----

    def write(self, number, rng):
        api = self.new_api()
        known = {f"w{number}-{i}": None for i in range(self.objects)}  # (revision, value), None: not there
        attempts = {name: [] for name in known}                       # values that may come yet, None: a deletion
        count = 0
        while not self.ending.is_set():
            name = rng.choice(list(known))
            count += 1
            before = known[name]
            value = None if before is not None and rng.random() < 0.3 else str(count)
            status, answer = self.attempt(api, name, before, value)
            if status in (200, 201):
                # The answer to a deletion has the version that was deleted, not that of the deletion.
                if value is not None:
                    self.acknowledge(revision_of(answer), name, value)
                known[name] = None if value is None else (revision_of(answer), value)
                attempts[name] = []
                continue
            if status in (404, 409) and not attempts[name]:
                self.fault(f"{name}: {status} {answer} although nobody else writes it; known was {before}")
            if status not in (404, 409, 429):
                attempts[name].append(value)
                with self.lock:
                    self.unknown += 1
            self.look(api, name, known, attempts)

    def attempt(self, api, name, before, value):
        if before is None:
            return api.call("POST", NAMESPACE, config_map(name, value))
        if value is None:
            return api.call("DELETE", f"{NAMESPACE}/{name}", {"preconditions": {"resourceVersion": str(before[0])}})
        return api.call("PUT", f"{NAMESPACE}/{name}", config_map(name, value, before[0]))

    def look(self, api, name, known, attempts):
        status, answer = api.must("GET", f"{NAMESPACE}/{name}")
        found = None if status == 404 else value_of(answer)
        allowed = [None if known[name] is None else known[name][1], *attempts[name]]
        if found not in allowed:
            self.fault(f"{name} is {found}, expected was one of {allowed}")
        known[name] = None if status == 404 else (revision_of(answer), found)

    # ---- a counter, as contended as can be ----

    def count(self, _, rng):
        api = self.new_api()
        while not self.ending.is_set():
            status, answer = api.must("GET", f"{NAMESPACE}/counter")
            value = str(int(value_of(answer)) + 1)
            status, answer = api.call("PUT", f"{NAMESPACE}/counter", config_map("counter", value, revision_of(answer)))
            with self.lock:
                self.added += status == 200
                self.may_be_added += status not in (200, 409, 429)
            if status == 200:
                self.acknowledge(revision_of(answer), "counter", value)
            time.sleep(rng.random() / 50)

    # ---- lists ----

    def list(self, number, rng):
        api = self.new_api()
        while not self.ending.is_set():
            with self.lock:
                before = max(self.told, default=0)
            limit = rng.choice([0, 7, 50]) if number else 0
            read = self.read_pages(api, limit)
            if read is not None:
                with self.lock:
                    self.reads.append((before, *read))
            time.sleep(rng.random() / 5)

    def read_pages(self, api, limit):
        items, token, revision = {}, None, None
        last = ""
        while token != "":
            query = f"?limit={limit}" + (f"&continue={token}" if token else "")
            status, answer = api.call("GET", NAMESPACE + query)
            if status != 200:
                return None
            if revision not in (None, answer["metadata"]["resourceVersion"]):
                self.fault(f"pages of one list are of the versions {revision} and {answer['metadata']['resourceVersion']}")
            revision = answer["metadata"]["resourceVersion"]
            for item in answer["items"]:
                name = item["metadata"]["name"]
                if name <= last:
                    self.fault(f"a list has {name} behind {last}")
                last = name
                items[name] = value_of(item)
            token = answer["metadata"].get("continue", "")
        return int(revision), items

    # ---- the end ----

    def end(self):
        """Stop, and compare everything; returns what is wrong."""
        self.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
        api = self.new_api()
        _, answer = api.must("GET", f"{NAMESPACE}/counter")
        final = int(value_of(answer))
        if not self.added <= final <= self.added + self.may_be_added:
            self.fault(f"the counter is {final}, of {self.added} increments and {self.may_be_added} without an answer")
        _, mark = api.must("POST", NAMESPACE, config_map("mark", "0"))
        for watcher in self.watchers:
            watcher.end(revision_of(mark))
        _, last = api.must("GET", NAMESPACE)
        for watcher in self.watchers:
            watcher.check({item["metadata"]["name"]: value_of(item) for item in last["items"]})
        self.check_reads(self.watchers[0].events)
        return self.wrong

    def check_reads(self, events):
        state, at = dict(self.first_items), 0
        for before, revision, items in sorted(self.reads, key=lambda read: read[1]):
            if revision < before:
                self.fault(f"a list of version {revision} began after {before} was acknowledged")
            while at < len(events) and events[at][0] <= revision:
                _, name, value = events[at]
                if value is None:
                    del state[name]
                else:
                    state[name] = value
                at += 1
            if state != items:
                differs = {name for name in state.keys() | items.keys() if state.get(name) != items.get(name)}
                self.fault(f"a list of version {revision} differs from the watch: {sorted(differs)[:5]}")

    def summary(self):
        return (f"{len(self.told)} writes acknowledged, {self.unknown + self.may_be_added} unknown, {self.added} increments, "
                f"{len(self.reads)} lists, {len(self.watchers[0].events)} events over "
                f"{'+'.join(str(watcher.streams) for watcher in self.watchers)} streams")


class Watcher:
    def __init__(self, workload):
        self.workload = workload
        self.events = []  # (revision, name, value)
        self.there = dict(workload.first_items)
        self.at = workload.first
        self.until = None
        self.streams = 0
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        api = self.workload.new_api()
        while self.until is None or self.at < self.until:
            self.streams += 1
            try:
                query = f"?watch=1&resourceVersion={self.at}&allowWatchBookmarks=true&timeoutSeconds={random.randint(3, 20)}"
                for event in api.lines(NAMESPACE + query):
                    if event["type"] == "ERROR":
                        self.workload.fault(f"a watch from {self.at} ended: {event['object']}")
                        time.sleep(1)
                        break
                    self.take(event["type"], event["object"])
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.2)

    def take(self, kind, item):
        revision = revision_of(item)
        if revision <= self.at and kind != "BOOKMARK" or revision < self.at:
            self.workload.fault(f"a watch that was at {self.at} was told {kind} of {revision}")
        self.at = revision
        if kind == "BOOKMARK":
            return
        name, value = item["metadata"]["name"], None if kind == "DELETED" else value_of(item)
        if (kind == "ADDED") != (name not in self.there):
            self.workload.fault(f"{kind} of {name} at {revision}, which was {self.there.get(name)}")
        self.events.append((revision, name, value))
        if value is None:
            self.there.pop(name, None)
        else:
            self.there[name] = value

    def end(self, revision):
        self.until = revision
        self.thread.join(PATIENCE_SECONDS)
        if self.at < revision:
            self.workload.fault(f"a watch did not get beyond {self.at}, the end is {revision}")

    def check(self, last):
        if self.there != last:
            self.workload.fault("what a watch was told is not what is there")
        seen = {revision: (name, value) for revision, name, value in self.events}
        for revision, (name, value) in self.workload.told.items():
            if revision > self.workload.first and seen.get(revision) != (name, value):
                self.workload.fault(f"{name} = {value} was acknowledged at {revision}, where a watch was told {seen.get(revision)}")
