"""Clusters: several Stratas on loopback that share one ring."""
import signal
import threading
import time

import server
from resp import Closed, Conn, Error

SECRET = "a word that all nodes share"


def slot(key):
    """Redis's hash slot: CRC16 of what is between the first braces, if anything is, else of the whole."""
    key = key.encode() if isinstance(key, str) else key
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1 & 0xFFFF
    return crc % 16384


class Node(server.Server):
    """A server with fixed ports: the others have been told them."""

    def __init__(self, port, bus, directives, binary=None, prefix=(), env=None):
        self.wanted, self.bus, self.prefix = port, bus, list(prefix)
        super().__init__(binary or server.STRATA, "--enable-debug-command", "yes", "--cluster-port", bus, *directives, env=env)

    def start(self):
        if not self.start_on(self.wanted):
            raise SystemExit("a node did not start: %s" % self.output()[-2000:])


class Cluster:
    """each: a node's own directives, by its number. net: hosts of their own (netns.Net), else all are on loopback. env: the same of their environments."""

    def __init__(self, n, *directives, binary=None, each=None, net=None, env=None):
        self.net, self.env = net, env
        self.places = self.free_places(n) if net is None else [(7001 + i, 17001 + i) for i in range(n)]
        self.peers = " ".join("%s:%d@%d" % (self.host(i), *place) for i, place in enumerate(self.places))
        self.directives = ["--cluster-enabled", "yes", "--cluster-secret", SECRET, "--peers", self.peers, "--cluster-announce-addr"]
        self.extra = list(directives)
        self.binary = binary
        self.nodes = []
        for i, (port, bus) in enumerate(self.places):
            own = [str(d) for d in (each(i) if each else [])]
            self.nodes.append(self.make(port, bus, own))
        self.settle()

    @staticmethod
    def free_places(n):
        ports = set()
        while len(ports) < 2 * n:
            ports.add(server.free_port())
        ports = sorted(ports)
        return [(ports[2 * i], ports[2 * i + 1]) for i in range(n)]

    def host(self, i):
        return self.net.host(i) if self.net is not None else "127.0.0.1"

    def make(self, port, bus, own=()):
        i = len(self.nodes)
        at = "%s:%d@%d" % (self.host(i), port, bus)
        return Node(port, bus, self.directives + [at] + self.extra + list(own), self.binary, self.net.prefix(i) if self.net is not None else (),
                    self.env(i) if self.env else None)

    def __getitem__(self, i):
        return self.nodes[i]

    def __len__(self):
        return len(self.nodes)

    def owners(self, via=0):
        """The port that serves each slot, as a node sees it."""
        c = self.nodes[via].conn()
        out = [None] * 16384
        for line in c.cmd("CLUSTER", "NODES").decode().splitlines():
            words = line.split(" ")
            port = int(words[1].split("@")[0].rsplit(":", 1)[1])
            for r in words[8:]:
                first, last = r.split("-")[0], r.split("-")[-1]
                out[int(first) : int(last) + 1] = [port] * (int(last) - int(first) + 1)
        c.close()
        return out

    def owner(self, key, via=0):
        port = self.owners(via)[slot(key)]
        return next(i for i, n in enumerate(self.nodes) if n.port == port)

    def key_of(self, i, prefix="k", via=0):
        """A key that node i owns."""
        owners = self.owners(via)
        return next(k for k in ("%s%d" % (prefix, j) for j in range(100000)) if owners[slot(k)] == self.nodes[i].port)

    def settle(self, seconds=60, nodes=None):
        """Until all have joined and see the same owners, each of these nodes among them."""
        nodes = list(range(len(self.nodes))) if nodes is None else nodes
        ports = {self.nodes[i].port for i in nodes}
        deadline = time.time() + seconds
        while True:
            joined = all(info(self.nodes[i].conn(), "peers")["members_joined"] == "1" for i in nodes)  # of those who begin, all own something
            views = [self.owners(i) for i in nodes]
            if joined and all(v == views[0] for v in views) and set(views[0]) == ports:
                return
            assert time.time() < deadline, "the nodes do not agree: %s" % [sorted(set(v), key=str) for v in views]
            time.sleep(0.02)

    def sum(self, name, section="peers"):
        return sum(int(info(n.conn(), section)[name]) for n in self.nodes if n.proc.poll() is None)

    def stop(self):
        """What was wrong, or None; a node that was killed is as it should be, one that fell by itself is not."""
        fallen = ["ended with %d: %s" % (n.proc.returncode, n.output()[-4000:]) for n in self.nodes if n.proc.poll() not in (None, 0, -9)]
        wrong = fallen + [n.stop() for n in self.nodes if n.proc.poll() is None]
        return next((w for w in wrong if w), None)


def info(c, section):
    lines = c.cmd("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def answering(cl, i):
    """Ports of the nodes that node i does not think dead or suspect."""
    lines = cl[i].conn().cmd("CLUSTER", "NODES").decode().splitlines()
    return {int(w[1].split("@")[0].rsplit(":", 1)[1]) for w in (line.split(" ") for line in lines) if "fail" not in w[2]}


def until(what, fn, seconds=30):
    deadline = time.time() + seconds
    while not fn():
        assert time.time() < deadline, "never: " + what
        time.sleep(0.01)


class Load:
    """Clients of some nodes that read and write all the time, and note what they are told."""

    def __init__(self, cluster, via, threads=4):
        self.cluster, self.errors, self.done, self.stopping = cluster, [], 0, False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(via[i % len(via)], i)) for i in range(threads)]
        for t in self.threads:
            t.start()

    def work(self, node, n):
        c, i = self.cluster[node].conn(), 0
        try:
            while not self.stopping:
                i += 1
                k = "load:%d" % ((i * 7 + n * 131) % 500)
                got = [c.cmd("SET", k, "v"), c.cmd("GET", k), c.cmd("MGET", k, "load:1", "load:2", "load:3"), c.cmd("INCR", "n" + k)]
                bad = [g for g in got if isinstance(g, Error)]
                with self.lock:
                    self.done += len(got)
                    self.errors += bad
        except (Closed, OSError) as e:
            with self.lock:
                self.errors.append("%s: %s" % (type(e).__name__, e))

    def more(self, n=300):
        goal = self.done + n
        until("the load goes on", lambda: self.done >= goal or self.errors)

    def end(self):
        self.stopping = True
        for t in self.threads:
            t.join()
        return self.errors


def with_cluster(n, *directives, **more):
    def wrap(fn):
        def run():
            cl = Cluster(n, *directives, **more)
            try:
                fn(cl)
            finally:
                for node in cl:
                    if node.proc.poll() is None:
                        node.proc.send_signal(signal.SIGCONT)
                wrong = cl.stop()
            assert wrong is None, wrong

        run.__name__ = fn.__name__
        return run

    return wrap
