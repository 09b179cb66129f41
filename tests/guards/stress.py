"""Many clients that look aside, at random, for some seconds; then what each was told is held against what was written.

- A value that was overwritten or deleted is not served once the write was acknowledged; past its lifetime it is served within its
  grace at most.
- Where nothing expires, a value that was written is not missed.
- Each call has its reply, in order, within the wait.
"""
import bisect
import collections
import itertools
import multiprocessing
import os
import random
import selectors
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from resp import Conn, decode

WAIT = 0.25
# class of keys -> policy, lifetime and grace in seconds (None: nothing expires, or nobody knows: the policy changes)
CLASSES = {"a": ("wait=250ms", None, 0), "b": ("wait=250ms ttl=300ms grace=600ms", 0.3, 0.6),
           "c": ("wait=250ms ttl=200ms grace=400ms early=on ttl-jitter=20%", 0.2, 0.4), "d": ("wait=250ms ttl=100ms grace=100ms", None, None)}
KEYS = [c + str(i) for c in CLASSES for i in range(8)]
NEVER = float("inf")

# One call: when it was sent and answered (NEVER: the client left before), what, key, argument, reply.
Op = collections.namedtuple("Op", "start end kind key arg reply")


class Client:
    """One connection, its calls on their way, and what it means to do later."""

    def __init__(self, sock, name, rng, history):
        self.address, self.name, self.rng, self.history = sock, name, rng, history
        self.seq, self.later, self.calls = 0, [], collections.deque()
        self.open()

    def open(self):
        self.conn = Conn(self.address)
        self.conn.sock.setblocking(False)
        self.buf = b""

    def value(self, key):
        self.seq += 1
        return "%s=%s.%d" % (key, self.name, self.seq)

    def pick(self):
        """The next batch: (kind, key, argument, words)."""
        rng, out = self.rng, []
        for _ in range(rng.choice([1, 1, 1, 2, 6])):
            key, n = rng.choice(KEYS), rng.random()
            if n < 0.70:
                out.append(("get", key, None, ["GET", key]))
            elif n < 0.82:
                v = self.value(key)
                out.append(("set", key, v, ["SET", key, v]))
            elif n < 0.90:
                out.append(("del", key, None, ["DEL", key]))
            elif n < 0.94 and key[0] != "a":
                ms = rng.choice([1, 50, 300])
                out.append(("expire", key, ms / 1000, ["PEXPIRE", key, ms]))
            elif n < 0.96:
                v = self.value(key)
                out += [("ok", key, None, ["MULTI"]), ("queued", key, None, ["SET", key, v]), ("queued", key, None, ["GET", key]), ("exec", key, v, ["EXEC"])]
            else:
                token = self.value("echo")
                out.append(("echo", key, token, ["ECHO", token]))
        return out

    def send(self, batch):
        data = b"".join(Conn.encode(*words) for _, _, _, words in batch)
        now = time.monotonic()
        self.calls.extend((now, kind, key, arg) for kind, key, arg, _ in batch)
        self.conn.sock.setblocking(True)
        self.conn.sock.sendall(data)
        self.conn.sock.setblocking(False)

    def leave(self):
        """In the middle of what it does: what was sent may still happen."""
        for start, kind, key, arg in self.calls:
            self.note(Op(start, NEVER, kind, key, arg, None))
        self.calls.clear()
        self.later = []
        self.conn.close()
        self.open()

    def note(self, op):
        if op.kind == "exec":
            self.history.append(op._replace(kind="set"))
        elif op.kind in ("get", "set", "del", "expire", "flush"):
            self.history.append(op)

    def receive(self):
        try:
            data = self.conn.sock.recv(1 << 16)
        except BlockingIOError:
            return
        assert data, "closed by the server"
        self.buf += data
        at = 0
        while at < len(self.buf):
            try:
                reply, end = decode(self.buf, at)
                if end > len(self.buf) or self.buf[end - 2 : end] != b"\r\n":
                    break
            except (ValueError, IndexError):
                break
            at = end
            self.replied(reply)
        self.buf = self.buf[at:]

    def replied(self, reply):
        assert self.calls, "a reply nobody asked for: %r" % reply
        start, kind, key, arg = self.calls.popleft()
        now = time.monotonic()
        reply = reply.decode() if isinstance(reply, bytes) else reply
        good = {"get": lambda: reply is None or reply.startswith(key + "="), "set": lambda: reply == "OK", "del": lambda: reply in (0, 1),
                "expire": lambda: reply in (0, 1), "ok": lambda: reply == "OK", "queued": lambda: reply == "QUEUED",
                "exec": lambda: reply[0] == "OK" and reply[1].decode() == arg, "echo": lambda: reply == arg, "flush": lambda: reply == "OK" or reply.startswith("ERR flushed databases are still being swept")}
        assert good[kind](), "out of order: %r to %s %s %s" % (reply, kind, key, arg)
        if kind != "flush" or reply == "OK":
            self.note(Op(start, now, kind, key, arg, reply))
        if kind == "get" and reply is None and self.rng.random() < 0.7:  # loads, and sets
            self.later.append((now + self.rng.uniform(0.001, 0.03), key))

    def act(self, now):
        due = [key for at, key in self.later if at <= now]
        self.later = [(at, key) for at, key in self.later if at > now]
        batch = []
        for key in due:
            v = self.value(key)
            batch.append(("set", key, v, ["SET", key, v]))
        if self.rng.random() < 0.002:
            batch.append(("flush", None, None, ["FLUSHALL"]))
        if len(self.calls) < 12:
            batch += self.pick()
        if batch:
            self.send(batch)
        if self.rng.random() < 0.004:
            self.leave()


def clients(sock, seed, count, seconds):
    """A process's clients; (history, slowest reply), or what went wrong."""
    rng, history = random.Random(seed), []
    everyone = [Client(sock, "%d.%d" % (seed, i), random.Random(seed * 1000 + i), history) for i in range(count)]
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            run_turn(everyone, rng)
        deadline = time.monotonic() + 10
        while any(c.calls for c in everyone):
            assert time.monotonic() < deadline, "replies are lost: %r" % [list(c.calls)[:3] for c in everyone if c.calls]
            receive_all(everyone, 0.05)
        for c in everyone:
            c.conn.close()
    except Exception as e:
        return "%s: %s" % (type(e).__name__, e)
    return history


def receive_all(everyone, seconds):
    with selectors.DefaultSelector() as s:
        for c in everyone:
            s.register(c.conn.sock, selectors.EVENT_READ, c)
        for key, _ in s.select(seconds):
            key.data.receive()


def run_turn(everyone, rng):
    now = time.monotonic()
    for c in rng.sample(everyone, len(everyone) // 4):
        c.act(now)
    receive_all(everyone, 0.002)


# ---- what may not be ----


class Latest:
    """Of pairs (at, value) the largest value among those with at below a bound."""

    def __init__(self, pairs):
        pairs = sorted(pairs)
        self.at = [p[0] for p in pairs]
        self.most = list(itertools.accumulate((p[1] for p in pairs), max))

    def before(self, bound):
        i = bisect.bisect_left(self.at, bound)
        return self.most[i - 1] if i > 0 else -NEVER


def check_key(key, ops, flushes):
    writes = sorted([o for o in ops if o.kind in ("set", "del")] + flushes, key=lambda w: w.start)
    starts = [w.start for w in writes]
    ended = [NEVER] * (len(writes) + 1)  # the first end of those that start no earlier
    for i in range(len(writes) - 1, -1, -1):
        ended[i] = min(ended[i + 1], writes[i].end)
    of_value = {w.arg: w for w in writes if w.kind == "set"}
    _, ttl, grace = CLASSES[key[0]]
    put_off = Latest((o.start, o.end + o.arg) for o in ops if o.kind == "expire" and o.reply != 0)  # how far a deadline may have been
    was_set = Latest((w.end, w.start) for w in writes if w.kind == "set")
    was_deleted = Latest((w.start, w.end) for w in writes if w.kind == "del")
    for read in (o for o in ops if o.kind == "get" and o.end != NEVER):
        if read.reply is not None:
            written = of_value.get(read.reply)
            assert written is not None and written.start <= read.end, "%s: %s was never written: %r" % (key, read.reply, read)
            gone = ended[bisect.bisect_left(starts, written.end)] if written.end != NEVER else NEVER
            assert read.start <= gone, "%s: %s was overwritten or deleted %.1f ms before: %r, %r" % (key, read.reply, (read.start - gone) * 1000, written, read)
            if ttl is not None and written.end != NEVER:
                last = max(written.end + ttl, put_off.before(read.end)) + grace
                assert read.start <= last + 0.2, "%s: %s is past its grace: %r, %r" % (key, read.reply, written, read)
        elif key[0] == "a":
            assert was_deleted.before(read.end) >= was_set.before(read.start), "%s: written and not deleted, but missed: %r" % (key, read)


def check(histories):
    flushes = [o._replace(kind="del") for h in histories for o in h if o.kind == "flush"]
    by_key = collections.defaultdict(list)
    for h in histories:
        for o in h:
            if o.kind != "flush":
                by_key[o.key].append(o)
    for key, ops in by_key.items():
        check_key(key, ops, flushes)
    answered = [o for h in histories for o in h if o.end != NEVER]
    reads = [o for o in answered if o.kind == "get"]
    return len(answered), sum(o.reply is not None for o in reads) / max(1, len(reads)), max(o.end - o.start for o in answered)


def the_checker_sees_planted_violations():
    def bad(*ops):
        try:
            check([[Op(*o) for o in ops]])
        except AssertionError:
            return True
        return False

    w1, w2 = (0, 1, "set", "a1", "a1=x", "OK"), (2, 3, "set", "a1", "a1=y", "OK")
    assert not bad(w1, (2, 3, "get", "a1", None, "a1=x")) and not bad(w1, w2, (2.5, 4, "get", "a1", None, "a1=x"))
    assert bad(w1, w2, (3.5, 4, "get", "a1", None, "a1=x"))
    assert bad(w1, (2, 3, "del", "a1", None, 1), (3.5, 4, "get", "a1", None, "a1=x"))
    assert bad(w1, (2, 3, "flush", None, None, "OK"), (3.5, 4, "get", "a1", None, "a1=x"))
    assert bad(w1, (2, 3, "get", "a1", None, None)) and bad((2, 3, "get", "a1", None, "a1=z"))
    assert bad((0, 1, "set", "b1", "b1=x", "OK"), (3, 4, "get", "b1", None, "b1=x"))
    assert not bad((0, 1, "set", "b1", "b1=x", "OK"), (1.5, 4, "get", "b1", None, "b1=x"))
    assert bad((0, 1, "set", "c1", "c1=x", "OK"), (0.9, NEVER, "del", "c1", None, None), (9, 9, "get", "c1", None, "c1=x"))


def stress(s, seconds, slack):
    """Runs 50 clients of two processes against the server; returns a line of numbers."""
    c = s.conn()
    c.cmd("CONFIG", "SET", "policy", "\n".join("%s* %s" % (k, v[0]) for k, v in CLASSES.items()))
    c.cmd("FLUSHALL")
    with multiprocessing.Pool(2) as pool:
        runs = [pool.apply_async(clients, (s.sock, seed, 25, seconds)) for seed in (1, 2)]
        rng = random.Random(3)
        while not all(r.ready() for r in runs):  # policies come and go meanwhile
            c.cmd(*rng.choice([["POLICY", "DEL", "d*"], ["POLICY", "SET", "d*", "wait=%dms" % rng.randrange(20, 250), "ttl=50ms", "grace=%dms" % rng.randrange(500)]]))
            time.sleep(0.02)
        histories = [r.get() for r in runs]
    wrong = [h for h in histories if isinstance(h, str)]
    assert not wrong, wrong
    ops, hits, slowest = check(histories)
    assert slowest <= WAIT + slack, "a reply took %.0f ms" % (slowest * 1000)
    deadline = time.time() + 10
    while True:
        guards = dict(line.split(":", 1) for line in c.cmd("INFO", "everything").decode().split("\r\n") if ":" in line)
        if guards["guard_leases"] == "0" and guards["blocked_clients"] == "0":
            break
        assert time.time() < deadline, "left over: %s leases, %s held" % (guards["guard_leases"], guards["blocked_clients"])
        time.sleep(0.05)
    c.cmd("FLUSHALL")
    assert c.cmd("DBSIZE") == 0
    waits = sum(int(pair.split("=")[1]) for k in CLASSES for pair in guards.get("policy_%s*" % k, "").split(",") if pair.startswith("waits="))
    stale = sum(int(pair.split("=")[1]) for k in CLASSES for pair in guards.get("policy_%s*" % k, "").split(",") if pair.startswith("stale="))
    assert waits > 50 and stale > 20, "%d waits and %d stale values are too few to tell" % (waits, stale)
    return "%d calls, %.0f%% of reads with a value, %d waits, %d stale, slowest reply %.0f ms" % (ops, hits * 100, waits, stale, slowest * 1000)
