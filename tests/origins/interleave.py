"""Loads, refreshes, writes, deletions, purges, expiry, evictions and failures of the origin, at random; what each read was told is held
against what had been acknowledged before it began.

One thread writes each key, so that its writes have an order; the origin's values say when their loads began, by the same clock. With W
the last write of the key that was acknowledged before a read began:

- W was a SET: the read sees its value; where values end it may see what was loaded since.
- W was a DEL or a purge: it sees what was loaded since, nil, or an origin's error.
- What was written or loaded before W is never seen again. A write under way at the same time may be seen, too.
"""
import collections
import random
import threading
import time

import fake
import server
from resp import Error

# class of keys -> options of its policy
CLASSES = {"k": "negative-ttl=20ms error-ttl=20ms", "e": "ttl=60ms grace=120ms early=on error-ttl=10ms", "j": "ttl=40ms ttl-jitter=50% negative-ttl=30ms error-ttl=0s wait=20ms"}
ENDS = "ej"  # classes whose values end
KEYS = ["%s:%d" % (c, i) for c in CLASSES for i in range(3)]
NEVER = float("inf")
Op = collections.namedtuple("Op", "start end kind value")


class Origin(fake.Origin):
    """Says in its value when the request came, after a while; or that there is none, or fails, or ends the connection."""

    def request(self, c, f):
        line = f.readline()
        began = time.monotonic()
        if not line:
            return False
        while f.readline().strip():
            pass
        with self.lock:
            self.loads["all"] += 1
        n = random.random()
        time.sleep(random.choice((0, 0, 0.005, 0.03)))
        if n < 0.08:
            return fake.reply(c, 500, "", b"")
        if n < 0.16:
            return fake.reply(c, 404, "", b"")
        if n < 0.2:
            return False
        return fake.reply(c, 200, "", b"o%.6f" % began)


def write(s, key, stop, history, rng, wrong):
    c, n = s.conn(), 0
    while not stop.is_set():
        n += 1
        kind, words = rng.choice((("set", ("SET", key, "w%d" % n)), ("set", ("SET", key, "w%d" % n)), ("set", ("MSET", key, "w%d" % n, "x:" + key, "1")),
                                  ("gone", ("DEL", key)), ("gone", ("UNLINK", key)), ("gone", ("PREFIX.PURGE", key))))
        start = time.monotonic()
        history.append(Op(start, NEVER, kind, b"w%d" % n))
        reply = c.cmd(*words)
        history[-1] = history[-1]._replace(end=time.monotonic())
        if isinstance(reply, Error):
            wrong.append((key, words, reply))
            return
        time.sleep(rng.choice((0, 0, 0.002, 0.02, 0.1)))


def read(s, stop, reads, rng):
    c = s.conn()
    c.sock.settimeout(60)
    while not stop.is_set():
        keys = [rng.choice(KEYS) for _ in range(rng.choice((1, 1, 3)))]
        start = time.monotonic()
        c.sock.sendall(b"".join(c.encode("GET", k) for k in keys))  # each waits by itself, in order
        for key in keys:
            reply = c.read()
            reads.append((key, Op(start, time.monotonic(), "get", reply)))


def permitted(key, op, writes):
    """Whether the read may have been told that, given the key's writes in order."""
    before = [w for w in writes if w.end < op.start]
    last = before[-1] if before else Op(0, 0, "gone", None)
    beside = [w for w in writes if w.end >= op.start and w.start <= op.end]
    if isinstance(op.value, bytes) and op.value.startswith(b"w"):
        return any(op.value == w.value and w.kind == "set" for w in beside + [last])
    loadable = last.kind == "gone" or key[0] in ENDS or any(w.kind == "gone" for w in beside)
    if op.value is None:
        return loadable
    if isinstance(op.value, Error):
        return loadable and op.value.startswith("ORIGIN o: ")
    return loadable and float(op.value[1:]) >= last.start


def chaos(s, stop, origin, l2):
    c = s.conn()
    while not stop.is_set():
        if l2:
            c.cmd("DEBUG", "EVICT")  # to disk; without one it would be a loss
        if random.random() < 0.1:
            origin.down()
            time.sleep(0.05)
            origin.up()
        time.sleep(0.05)


def run(binary, seconds, l2):
    origin = Origin()
    lines = [w for k, options in CLASSES.items() for w in ("--policy", "%s:* origin=o %s" % (k, options))]
    s = server.strata("--threads", 4, "--origin", "o http://127.0.0.1:%d/{key} timeout=5s retries=1 breaker-errors=0%%" % origin.port, *lines,
                      *(("--l2", "on", "--l2-thrash-guard", "off") if l2 else ()), binary=binary)
    stop, wrong, reads = threading.Event(), [], []
    histories = {k: [] for k in KEYS}
    threads = [threading.Thread(target=write, args=(s, k, stop, histories[k], random.Random(i), wrong)) for i, k in enumerate(KEYS)]
    threads += [threading.Thread(target=read, args=(s, stop, reads, random.Random(100 + i))) for i in range(16)]
    threads += [threading.Thread(target=chaos, args=(s, stop, origin, l2))]
    for t in threads:
        t.start()
    time.sleep(seconds)
    stop.set()
    for t in threads:
        t.join(90)
        assert not t.is_alive(), "a call has no reply"
    bad = [(k, op, [w for w in histories[k] if w.end >= op.start - 0.5 and w.start <= op.end]) for k, op in reads if not permitted(k, op, histories[k])]
    origin.down()
    end = s.stop()
    assert not wrong, wrong[0]
    assert not bad, "%d of %d reads; the first: %s" % (len(bad), len(reads), bad[0])
    assert end is None, end
    kinds = collections.Counter("error" if isinstance(op.value, Error) else "nil" if op.value is None else chr(op.value[0]) for _, op in reads)
    assert all(kinds[k] > 0 for k in ("w", "o", "nil", "error")), kinds
    print("# %d reads: %s; %d loads" % (len(reads), dict(kinds), origin.loads["all"]))


def the_checker_sees_planted_violations():
    w = [Op(1, 2, "set", b"w1"), Op(5, 6, "set", b"w2"), Op(9, 10, "gone", b"w3")]
    good = [("k:0", Op(3, 4, "get", b"w1")), ("k:0", Op(3, 5.5, "get", b"w2")), ("k:0", Op(11, 12, "get", b"o9.5")), ("k:0", Op(11, 12, "get", None)),
            ("e:0", Op(3, 4, "get", b"o2.5")), ("k:0", Op(9.5, 9.6, "get", b"w2")), ("k:0", Op(11, 12, "get", Error("ORIGIN o: no")))]
    bad = [("k:0", Op(7, 8, "get", b"w1")), ("k:0", Op(11, 12, "get", b"w2")), ("k:0", Op(11, 12, "get", b"o8.5")), ("k:0", Op(7, 8, "get", None)),
           ("k:0", Op(7, 8, "get", b"o7.5")), ("e:0", Op(7, 8, "get", b"o4.5")), ("k:0", Op(7, 8, "get", Error("ORIGIN o: no")))]
    assert all(permitted(k, op, w) for k, op in good), [g for g in good if not permitted(*g, w)]
    assert not any(permitted(k, op, w) for k, op in bad), [b for b in bad if permitted(*b, w)]
