#!/usr/bin/env python3
"""A client that makes trouble for the others: disturb.py CASE PORT, until it is ended."""
import socket
import sys
import threading
import time

MB = 1 << 20


def connect(port, receive=None):
    s = socket.socket()
    if receive:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def read_bytes(s, n, buffer):
    while n > 0:
        got = s.recv_into(buffer, min(n, len(buffer)))
        if got == 0:
            raise SystemExit("the server closed the connection")
        n -= got


def slow_reader(port, size=10000):
    """Asks for 50 MB of replies and takes 4 KB of them 20 times a second; a new one every half second."""
    while True:
        s = connect(port, 4096)
        s.sendall(command(b"SET", b"slow", b"x" * size))
        s.recv(5)
        s.sendall(command(b"GET", b"slow") * (50 * MB // size))
        for _ in range(10):
            s.recv(4096)
            time.sleep(0.05)
        s.close()


def slow_reader_of_small(port):
    slow_reader(port, 500)


def long_pipeline(port):
    """16 MB of GETs in one go, the next when all replies are there and a second has passed."""
    s = connect(port)
    s.sendall(command(b"SET", b"short", b"x"))
    s.recv(5)
    one = command(b"GET", b"short")
    count = 16 * MB // len(one)
    block, buffer = one * count, bytearray(MB)
    while True:
        start = time.monotonic()
        sender = threading.Thread(target=s.sendall, args=(block,), daemon=True)
        sender.start()
        read_bytes(s, count * len(b"$1\r\nx\r\n"), buffer)
        sender.join()
        time.sleep(max(0, 1 - (time.monotonic() - start)))


def big_values(port):
    """Sets and gets a value of 10 MB, ten commands a second."""
    s = connect(port)
    value = b"x" * (10 * MB)
    put, get, buffer = command(b"SET", b"big", value), command(b"GET", b"big"), bytearray(MB)
    reply = len(b"$%d\r\n" % len(value)) + len(value) + 2
    while True:
        for block, n in ((put, 5), (get, reply)):
            start = time.monotonic()
            s.sendall(block)
            read_bytes(s, n, buffer)
            time.sleep(max(0, 0.1 - (time.monotonic() - start)))


if __name__ == "__main__":
    cases = {"slow-reader": slow_reader, "slow-small": slow_reader_of_small, "long-pipeline": long_pipeline, "big-values": big_values}
    try:
        cases[sys.argv[1]](int(sys.argv[2]))
    except (KeyboardInterrupt, ConnectionError):
        pass
