"""Penetration: very many random keys that do not exist, before a Redis that has 2,000 others. Counts, not times: no quiet machine is needed."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compare"))

import servers   # noqa: E402

REAL, WAVE, KNOWN, AGAIN, CONNECTIONS = 2000, 6400, 2000, 50, 64
MEMORY = 64 << 20
# Column, options of the policy for all keys, whether the filter at the key `*` knows the real ones.
SETUPS = [("no memory of absence", "", False), ("negative-ttl", "negative-ttl=1h", False), ("negative-ttl, filter", "negative-ttl=1h filter=bloom", True)]
ROWS = ["loads at the origin, {keys} random absent keys", "loads at the origin, 2,000 absent keys asked for 50 times each",
        "bytes of memory more after all of them", "reads of real keys meanwhile that memory answered, %"]


class Crowd:
    """So many connections to one server, pipelined: calls go to them in turn, replies come in the order of the calls."""

    def __init__(self, port, n=CONNECTIONS):
        self.all = [servers.Client(port) for _ in range(n)]

    def many(self, calls):
        n = len(self.all)
        for at, c in enumerate(self.all):
            c.socket.sendall(b"".join(c.encode(*call) for call in calls[at::n]))
        return [self.all[i % n].reply() for i in range(len(calls))]

    def get(self, keys):
        return self.many([("GET", k) for k in keys])

    def call(self, *words):
        return self.all[0].call(*words)

    def info(self, section):
        return dict(line.split(":", 1) for line in self.call("INFO", section).decode().split("\r\n") if ":" in line)

    def count(self, name, what):
        """A number of a line of INFO guards."""
        text = next(line for line in self.call("INFO", "guards").decode().split("\r\n") if line.startswith(name + ":"))
        return int(dict(pair.split("=", 1) for pair in text[len(name) + 1:].split(","))[what])

    def loads(self):
        return self.count("origin_r", "loads")

    def hits(self):
        return self.count("policy_*", "hits")

    def used(self):
        return int(self.info("memory")["used_memory"])


def throw(c, keys, rng):
    """That many random keys, real ones between them; how many real reads there were, and how many memory answered."""
    reads, hits, asked = 0, c.hits(), 0
    while asked < keys:
        wave = ["%032x" % rng.getrandbits(128) for _ in range(min(WAVE, keys - asked))]
        some = ["real:%d" % rng.randrange(REAL) for _ in range(WAVE // 20)]
        if any(v is not None for v in c.get(wave)) or None in c.get(some):
            raise SystemExit("a wrong reply")
        asked += len(wave)
        reads += len(some)
    return 100 * (c.hits() - hits) / reads


def column(kind, upstream, policy, filtered, keys):
    lines = " --threads 2 --origin 'r redis://127.0.0.1:%d timeout=20s queue=20000 queue-timeout=20s' --policy '* origin=r %s'" % (upstream, policy)
    rng = random.Random(7)
    real = ["real:%d" % i for i in range(REAL)]
    with servers.Server(servers.Kind(kind.name, kind.command + lines, kind.memory, kind.policy), maxmemory=MEMORY) as running:
        c = Crowd(running.port)
        if filtered:
            c.call("BF.RESERVE", "*", "0.001", "100000")
            c.call("BF.MADD", "*", *real)
        c.get(real)
        c.get(["%032x" % rng.getrandbits(128) for _ in range(WAVE)])  # the buffers have their size now
        before, used = c.loads(), c.used()
        hit = throw(c, keys, rng)
        random_loads, before = c.loads() - before, c.loads()
        for _ in range(AGAIN):
            c.get(["gone:%d" % i for i in range(KNOWN)])
        return [random_loads, c.loads() - before, c.used() - used, hit]


def measure(kinds, keys):
    """Head and rows of the table."""
    with servers.Server(kinds["redis"]) as upstream:
        u = Crowd(upstream.port, 1)
        u.many([("SET", "real:%d" % i, "value %d" % i) for i in range(REAL)])
        columns = [column(kinds["strata"], upstream.port, policy, filtered, keys) for _, policy, filtered in SETUPS]
    head = [""] + [name for name, _, _ in SETUPS]
    return head, [[text.format(keys=format(keys, ","))] + [c[i] for c in columns] for i, text in enumerate(ROWS)]


def notes():
    return ["a Redis with %s keys is the origin; %d connections ask for the absent keys, %d at a time, and between them for real ones" % (format(REAL, ","), CONNECTIONS, WAVE),
            "maxmemory %d MB, negative-max at its default" % (MEMORY >> 20)] + [
            ("%s: policy * origin=r %s" % (name, policy)).rstrip() for name, policy, _ in SETUPS] + [
            "filter: BF.RESERVE * 0.001 100000, and each real key by BF.MADD"]
