"""An HTTP origin that can be as bad as it likes: the part of a key before its first ':' says how it answers."""
import collections
import random
import socket
import struct
import threading
import time
import urllib.parse


def quiet_port():
    """A free port below those the kernel gives to connections: one to a dead origin there could reach itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        below = int(f.read().split()[0])
    for port in random.sample(range(1024, max(below, 2048)), 50):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise SystemExit("no free port")


class Origin:
    """A thread per connection. loads counts requests by key; say[key] = (status, headers, body) overrides everything."""

    def __init__(self, delay=0.3):
        self.port, self.delay = quiet_port(), delay
        self.lock = threading.Lock()
        self.loads, self.say, self.conns = collections.Counter(), {}, set()
        self.listener, self.gate = None, threading.Event()
        self.now = self.peak = 0  # slow requests under way, and the most at once
        self.up()

    def up(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(1024)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def down(self):
        """Refuses connections from now on; those there are end."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            conns, self.conns = self.conns, set()
        for c in conns:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def total(self, prefix=""):
        with self.lock:
            return sum(n for k, n in self.loads.items() if k.startswith(prefix))

    def accept(self, listener):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.conns.add(c)
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            f = c.makefile("rb")
            while self.request(c, f):
                pass
            f.close()
        except OSError:
            pass
        with self.lock:
            self.conns.discard(c)
        c.close()

    def request(self, c, f):
        line = f.readline()
        if not line:
            return False
        while f.readline().strip():
            pass
        key = urllib.parse.unquote(line.split()[1].decode().lstrip("/"))
        with self.lock:
            self.loads[key] += 1
            n = self.loads[key]
        if key in self.say:
            return reply(c, *self.say[key])
        return getattr(self, "do_" + key.split(":")[0], self.do_ok)(c, key, n)

    def do_ok(self, c, key, n):
        return reply(c, 200, "", value_of(key, n))

    def do_slow(self, c, key, n):
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
        time.sleep(self.delay)
        with self.lock:
            self.now -= 1
        return reply(c, 200, "", value_of(key, n))

    def do_gate(self, c, key, n):
        self.gate.wait(60)
        return reply(c, 200, "", value_of(key, n))

    def do_big(self, c, key, n):
        return reply(c, 200, "", value_of(key, n).ljust(65536, b"."))

    def do_absent(self, c, key, n):
        return reply(c, 404, "", b"no such thing")

    def do_error(self, c, key, n):
        return reply(c, 500, "", b"oh dear")

    def do_hang(self, c, key, n):
        while c.recv(1):  # until the other side gives up
            pass
        return False

    def do_reset(self, c, key, n):
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def do_close(self, c, key, n):
        return False

    def do_half(self, c, key, n):
        c.sendall(head(200, "", 100) + b"x" * 50)
        return False

    def do_stall(self, c, key, n):
        c.sendall(head(200, "", 100) + b"x" * 50)
        return self.do_hang(c, key, n)

    def do_drip(self, c, key, n):
        c.sendall(head(200, "", 1000))
        while True:  # ends with the connection
            c.sendall(b"x")
            time.sleep(0.05)

    def do_beyond(self, c, key, n):
        c.sendall(head(200, "", 10) + b"x" * 20)
        return False

    def do_endless(self, c, key, n):
        c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            c.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    def do_huge(self, c, key, n):
        """Two gigabytes, announced; how much of it is taken is in loads."""
        c.sendall(head(200, "", 2 << 30))
        while True:
            c.sendall(b"x" * 65536)
            with self.lock:
                self.loads["sent of huge"] += 65536

    def do_unsized(self, c, key, n):
        c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it, or is it?")
        return False

    def do_chatter(self, c, key, n):
        c.sendall(b"220 smtp.example.org ready\r\n")
        return False

    def do_zip(self, c, key, n):
        c.sendall(head(200, "Content-Encoding: gzip\r\n", 30) + b"\x1f\x8b not really a gzip stream at all"[:30])
        return True


def value_of(key, n):
    """What the n-th load of a key gives."""
    return b"%s=%d" % (key.encode(), n)


def head(status, headers, n):
    return b"HTTP/1.1 %d Word\r\n%sContent-Length: %d\r\n\r\n" % (status, headers.encode(), n)


def reply(c, status, headers, body):
    c.sendall(head(status, headers, len(body)) + body)
    return True
