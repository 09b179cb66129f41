"""RESP over a socket, keeping the raw bytes of each reply."""
import socket


class Closed(Exception):
    pass


class Conn:
    def __init__(self, address, timeout=20):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.buf = b""

    def close(self):
        self.sock.close()

    @staticmethod
    def encode(*args):
        parts = [b"*%d\r\n" % len(args)]
        for a in args:
            if isinstance(a, str):
                a = a.encode()
            elif isinstance(a, int):
                a = b"%d" % a
            parts.append(b"$%d\r\n%s\r\n" % (len(a), a))
        return b"".join(parts)

    def send(self, *args):
        self.sock.sendall(self.encode(*args))

    def _fill(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Closed()
        self.buf += data

    def _line(self, at):
        while True:
            end = self.buf.find(b"\r\n", at)
            if end >= 0:
                return end + 2
            self._fill()

    def _skip(self, at):
        """The offset behind the value that starts at `at`."""
        end = self._line(at)
        kind, head = self.buf[at : at + 1], self.buf[at + 1 : end - 2]
        if kind in b"$=!":
            n = int(head)
            if n < 0:
                return end
            while len(self.buf) < end + n + 2:
                self._fill()
            return end + n + 2
        if kind in b"*~>%|":
            n = int(head) * (2 if kind in b"%|" else 1)
            at = end
            for _ in range(max(n, 0)):
                at = self._skip(at)
            return self._skip(at) if kind == b"|" else at
        return end

    def raw(self):
        """The bytes of the next reply."""
        while not self.buf:
            self._fill()
        end = self._skip(0)
        out, self.buf = self.buf[:end], self.buf[end:]
        return out

    def read(self):
        """The next reply, decoded."""
        return decode(self.raw())[0]

    def cmd(self, *args):
        self.send(*args)
        return self.read()


class Error(str):
    pass


def decode(data, at=0):
    """(value, offset behind it). Maps become lists of pairs flattened, sets lists."""
    end = data.index(b"\r\n", at) + 2
    kind, head = data[at : at + 1], data[at + 1 : end - 2]
    if kind == b"+":
        return head.decode("latin1"), end
    if kind == b"-":
        return Error(head.decode("latin1")), end
    if kind == b":":
        return int(head), end
    if kind in b"$=":
        n = int(head)
        if n < 0:
            return None, end
        body = data[end : end + n]
        return (body[4:] if kind == b"=" else body), end + n + 2
    if kind == b"_":
        return None, end
    if kind == b"#":
        return head == b"t", end
    if kind == b",":
        return float(head), end
    if kind == b"(":
        return int(head), end
    n = int(head)
    if n < 0:
        return None, end
    out = []
    for _ in range(n * (2 if kind in b"%|" else 1)):
        v, end = decode(data, end)
        out.append(v)
    if kind == b"|":
        return decode(data, end)
    return out, end
