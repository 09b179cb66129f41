"""Histories of several clients at several nodes, and what docs/consistency.md promises of them.

Each key has one writer, which writes 1, 2, 3, ... through one node, as a string or a hash's field; readers read through all nodes, by several calls. Noted are when each call began and
ended, by the one clock of this machine. Checked is, of each read:

  own       at the writer's node it is at least the last version acknowledged before the read began
  order     at one node it is at least any version that a read ended with there before this one began
  stale     at any node it is at least the last version acknowledged `bound` seconds before the read began
  no future it is no version whose write had not begun when the read ended

An absent value is version 0: after the loss of a node its keys may be gone, and the checks of a key then begin anew (`forgiven`).
"""
import threading
import time

import nodes
from resp import Closed, Error


READS = {False: [("GET",), ("GETRANGE", "0", "-1")], True: [("HGET", "v"), ("HMGET", "v", "none"), ("HVALS",)]}


class Key:
    def __init__(self, name, node):
        self.name, self.node = name, node
        self.hash = sum(name.encode()) % 2 == 1  # the version is in a field, or the string
        self.begun, self.acked = [], []  # times, by version - 1
        self.reads = []  # (node, began, ended, version)


class History:
    def __init__(self, cluster, keys, readers_per_node=2, skip=()):
        """keys: (name, writer's node). skip: nodes that nobody talks to."""
        self.cluster = cluster
        self.keys = [Key(*k) for k in keys]
        self.stopping = False
        self.errors = []
        ours = [i for i in range(len(cluster)) if i not in skip]
        self.threads = [threading.Thread(target=self.work, args=(self.write, k.node, k)) for k in self.keys]
        self.threads += [threading.Thread(target=self.work, args=(self.read, i, None)) for i in ours for _ in range(readers_per_node)]
        for t in self.threads:
            t.start()

    def work(self, fn, node, key):
        try:
            fn(self.cluster[node].conn(), node, key)
        except (Closed, OSError, AssertionError) as e:
            self.errors.append("%s at node %d: %s" % (type(e).__name__, node, e))

    def write(self, c, node, key):
        version = 0
        while not self.stopping:
            version += 1
            key.begun.append(time.monotonic())
            got = c.cmd("HSET", key.name, "v", version) if key.hash else c.cmd("SET", key.name, version)
            key.acked.append(time.monotonic())
            assert got in ("OK", 0, 1), got
            self.note(key, c, node)
            if version % 7 == 0:
                time.sleep(0.01)  # long enough for copies to be made

    def read(self, c, node, _):
        while not self.stopping:
            for key in self.keys:
                self.note(key, c, node)

    @staticmethod
    def note(key, c, node):
        calls = READS[key.hash]
        call = calls[len(key.reads) // 64 % len(calls)]  # the same for a while: only what is asked for often is kept
        began = time.monotonic()
        got = c.cmd(call[0], key.name, *call[1:])
        assert not isinstance(got, Error), got
        got = got if not isinstance(got, list) else got[0] if got else None
        key.reads.append((node, began, time.monotonic(), int(got or 0)))

    def total(self):
        return sum(len(k.reads) for k in self.keys)

    def end(self):
        self.stopping = True
        for t in self.threads:
            t.join()
        assert not self.errors, self.errors[:3]
        return self


def acked_before(key, when):
    """The last version acknowledged before then. Versions are written one after the other."""
    lo, hi = 0, len(key.acked)
    while lo < hi:
        mid = (lo + hi) // 2
        if key.acked[mid] < when:
            lo = mid + 1
        else:
            hi = mid
    return lo


def check(key, bound, forgiven=None):
    """What is wrong with the reads of a key, as (kind, read, wanted); and the greatest age of a value read, in seconds. forgiven: a span of
    time, (from, to); reads in it may find anything, and those behind it know only of what was acknowledged or read behind it."""
    wrong, oldest = [], 0.0

    def known(version, began):
        """A version that was acknowledged before the span says nothing behind it."""
        return version if forgiven is None or version == 0 or began < forgiven[0] or key.acked[version - 1] > forgiven[1] else 0

    best = {}  # of each node: (ended, version), rising in both
    events = sorted([(r[1], 1, r) for r in key.reads] + [(r[2], 0, r) for r in key.reads], key=lambda e: e[:2])
    for when, begins, read in events:
        node, began, ended, version = read
        if forgiven is not None and began < forgiven[1] and ended > forgiven[0]:
            continue
        after = forgiven is not None and began >= forgiven[1]
        if not begins:
            best[node, after] = max(best.get((node, after), 0), version)
            continue
        fresh = known(acked_before(key, began), began)
        for kind, wanted in (("own", fresh if node == key.node else 0), ("order", best.get((node, after), 0)), ("stale", known(acked_before(key, began - bound), began))):
            if version < wanted:
                wrong.append((kind, read, wanted))
        if version > len(key.begun) or (version > 0 and key.begun[version - 1] > ended):
            wrong.append(("future", read, version))
        if version < fresh:
            oldest = max(oldest, began - key.acked[version])  # since when the next version was there
    return wrong, oldest


def selftest():
    """The checker sees each kind of wrong, and accepts what is right."""

    def key(reads):
        k = Key("k", 0)
        k.begun, k.acked = [0.0, 1.0, 2.0], [0.1, 1.1, 2.1]
        k.reads = reads
        return {w[0] for w in check(k, 0.5)[0]}

    assert key([(0, 1.2, 1.3, 2), (1, 1.2, 1.3, 1), (1, 1.4, 1.5, 2), (0, 2.05, 2.06, 2), (1, 2.05, 2.2, 3)]) == set()
    assert key([(0, 1.2, 1.3, 1)]) == {"own"}
    assert key([(1, 1.2, 1.25, 2), (1, 1.3, 1.4, 1)]) == {"order"}
    assert key([(1, 1.2, 1.35, 2), (1, 1.3, 1.4, 1)]) == set()
    assert key([(1, 1.7, 1.8, 1)]) == {"stale"}
    assert key([(1, 0.5, 0.6, 2)]) == {"future"}
    k = Key("k", 0)
    k.begun, k.acked = [0.0, 1.0, 5.0], [0.1, 1.1, 5.1]
    k.reads = [(1, 1.2, 1.3, 2), (1, 4.0, 4.1, 0), (1, 5.2, 5.3, 3)]
    assert check(k, 0.5, (2.0, 3.0)) == ([], 0.0) and {w[0] for w in check(k, 0.5)[0]} == {"order", "stale"}
    k.reads.append((1, 5.9, 6.0, 0))
    assert {w[0] for w in check(k, 0.5, (2.0, 3.0))[0]} == {"order", "stale"}


def check_all(history, bound, forgiven=None):
    """The greatest age, and the reads made."""
    ages = []
    for key in history.keys:
        wrong, age = check(key, bound, forgiven)
        assert not wrong, (key.name, key.node, len(wrong), wrong[:3])
        ages.append(age)
    return max(ages)


def keys_and_writers(cl):
    """A key of each node, written through each node."""
    return [(cl.key_of(owner, "history%d:" % via), via) for owner in range(len(cl)) for via in range(len(cl))]


def with_a_loss(cl, lose, back):
    """The last node is lost while clients go on at the others: the others' keys are none the worse."""
    lost = len(cl) - 1
    keys = [k for k in keys_and_writers(cl) if k[1] != lost]
    own = {name for name, _ in keys if cl.owner(name) == lost}
    h = History(cl, keys, skip=[lost])
    nodes.until("there is something", lambda: h.total() >= 3000 or h.errors, 60)
    began = time.monotonic()
    lose()
    settled = lambda: all(cl[lost].port not in nodes.answering(cl, i) for i in range(lost))
    nodes.until("it is passed over", settled)
    back()
    ended = time.monotonic() + 1.0
    nodes.until("there is more", lambda: h.errors or (time.monotonic() > ended and all(len([r for r in k.reads[-50:] if r[1] > ended]) == 50 for k in h.keys)), 120)
    h.end()
    for key in h.keys:
        wrong, _ = check(key, 1.0, (began, ended) if key.name in own else None)
        assert not wrong, (key.name in own, len(wrong), wrong[:3])
