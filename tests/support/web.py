"""HTTP to a server's http-port, and a server that has one."""
import http.client
import os
import socket

import server


def start(*directives, binary=None, dir=None):
    """A server with a page. Its port may be taken between being found and being used: then it runs without, and another is tried."""
    for _ in range(5):
        port = server.free_port()
        s = server.strata("--http-port", port, *directives, binary=binary, dir=dir)
        if b"http_state:on" in info(s):
            s.http_port = port
            return s
        s.stop()
    raise SystemExit("no port for HTTP")


def info(s, section="server"):
    c = s.conn()
    out = c.cmd("INFO", section)
    c.close()
    return out


def field(s, name, section="stats"):
    for line in info(s, section).decode().split("\r\n"):
        if line.startswith(name + ":"):
            return int(line.split(":")[1])
    raise AssertionError("no field %s" % name)


def get(s, path, method="GET", headers=None, body=None):
    """(status, headers with names in lower case, body)"""
    c = http.client.HTTPConnection("127.0.0.1", s.http_port, timeout=60)
    try:
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
    finally:
        c.close()


def raw(s, timeout=60):
    c = socket.create_connection(("127.0.0.1", s.http_port), timeout=timeout)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c


def answer(s, data):
    """What comes until the server closes; sent as it is."""
    with raw(s) as c:
        out = b""
        try:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            while True:
                part = c.recv(1 << 16)
                if not part:
                    return out
                out += part
        except OSError:  # reset, or closed already
            return out


def scratch(name):
    """A folder under build for what people may want to look at afterwards."""
    path = os.path.join(server.ROOT, "build", name)
    os.makedirs(path, exist_ok=True)
    return path
