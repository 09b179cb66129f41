"""Nodes of another version of the peers' protocol, played by hand: refused with a clear line, and the ring is as it was."""
import hashlib
import hmac
import os
import socket
import struct
import threading

import server
from absent import DISK, end, keys_of, never_again, passed_over, purge, together, write
from nodes import SECRET, Node, until, with_cluster

FRAME_PROTOCOL, MEMBERS_PROTOCOL = 4, 3
HELLO, WELCOME, PROOF, REFUSED, MEMBERS = 1, 2, 3, 4, 32
ID = b"0123456789abcdef0123456789abcdef01234567"


def frame(kind, payload=b"", length=None, channel=0, tag=0):
    return struct.pack("<2sBBIIIQ", b"St", kind, 0, len(payload) if length is None else length, channel, tag, 0) + payload


def take(sock, n):
    out = b""
    while len(out) < n:
        some = sock.recv(n - len(out))
        assert some, "it was closed"
        out += some
    return out


def take_frame(sock):
    head = take(sock, 24)
    return head[2], take(sock, struct.unpack_from("<I", head, 4)[0])


def greeting(nonce, version=FRAME_PROTOCOL):
    return bytes([version, 0, 0, 0]) + nonce + ID


def rings(cl):
    return [n.conn().cmd("CLUSTER", "INFO") for n in cl]


def is_as_it_was(cl, before):
    assert rings(cl) == before
    c = cl[0].conn()
    for i in range(len(cl)):
        assert c.cmd("SET", cl.key_of(i, "version"), "v") == "OK"


def who_dials_with_another_version_is_refused(cl):
    before = rings(cl)
    sock = socket.create_connection(("127.0.0.1", cl[0].bus), 20)
    sock.sendall(frame(HELLO, greeting(os.urandom(32), FRAME_PROTOCOL + 1)))
    kind, text = take_frame(sock)
    assert kind == REFUSED and text == b"it speaks version %d of the peer protocol, this node speaks %d" % (FRAME_PROTOCOL + 1, FRAME_PROTOCOL), (kind, text)
    assert sock.recv(1) == b""
    sock.close()
    is_as_it_was(cl, before)


def who_is_dialled_and_has_another_version_is_refused(cl):
    """It answers as a node of another version would, and then as one that refuses ours."""
    before = rings(cl)
    for answer, line in ((frame(WELCOME, greeting(os.urandom(32), FRAME_PROTOCOL + 1) + bytes(32)), "it speaks version %d of the peer protocol" % (FRAME_PROTOCOL + 1)),
                         (frame(REFUSED, b"it speaks version 2 of the peer protocol, this node speaks 77"), "it refuses us: it speaks version 2")):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(1)
        done = threading.Event()

        def serve():
            while not done.is_set():
                try:
                    s, _ = listener.accept()
                except TimeoutError:
                    continue
                s.settimeout(20)
                try:
                    take_frame(s)
                    s.sendall(answer)
                    s.recv(4096)
                except (OSError, AssertionError):
                    pass
                s.close()

        t = threading.Thread(target=serve)
        t.start()
        try:
            assert cl[1].conn().cmd("CLUSTER", "MEET", "127.0.0.1", 1, listener.getsockname()[1]) == "OK"
            until("the log says so", lambda: line in cl[1].output())
        finally:
            done.set()
            t.join()
            listener.close()
    is_as_it_was(cl, before)


def who_speaks_of_members_in_another_version_is_no_member(cl):
    """It knows the secret, and proves it; what it says of members is not understood."""
    before = rings(cl)
    sock = socket.create_connection(("127.0.0.1", cl[2].bus), 20)
    mine = os.urandom(32)
    sock.sendall(frame(HELLO, greeting(mine)))
    kind, welcome = take_frame(sock)
    assert kind == WELCOME, (kind, welcome)
    theirs, node = welcome[4:36], welcome[36:76]

    def proof(who):
        return hmac.new(SECRET.encode(), b"strata peer %d %s" % (FRAME_PROTOCOL, who) + mine + ID + theirs + node, hashlib.sha256).digest()

    assert welcome[76:] == proof(b"accepted")
    message = bytes([MEMBERS_PROTOCOL + 8]) + os.urandom(90)
    sock.sendall(frame(PROOF, proof(b"dialled")) + frame(MEMBERS, message) * 3)
    line = "speaks version %d of the membership, this node speaks %d: it is no member here" % (MEMBERS_PROTOCOL + 8, MEMBERS_PROTOCOL)
    until("the log says so", lambda: line in cl[2].output())
    assert cl[2].output().count("of the membership, this node") == 1  # not thrice
    sock.close()
    is_as_it_was(cl, before)


class Stranger:
    """A node of another version, as far as anybody can tell: it listens on a peers' port, and refuses, or is refused."""

    def __init__(self, port, refuses):
        self.listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.listener.settimeout(0.2)
        self.port, self.refuses, self.met = self.listener.getsockname()[1], refuses, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.done.is_set():
            try:
                s, _ = self.listener.accept()
            except TimeoutError:
                continue
            s.settimeout(20)
            try:
                take_frame(s)
                self.met += 1
                s.sendall(frame(REFUSED, b"it speaks version %d of the peer protocol, this node speaks 77" % FRAME_PROTOCOL) if self.refuses
                          else frame(WELCOME, greeting(os.urandom(32), FRAME_PROTOCOL + 1) + bytes(32)))
                s.recv(4096)
            except (OSError, AssertionError):
                pass
            s.close()

    def end(self):
        self.done.set()
        self.thread.join()
        self.listener.close()


class Doomed(Node):
    def start(self):
        self.start_on(self.wanted)  # ready or not


def who_finds_another_version_before_it_has_joined_ends():
    """It would be a cluster of its own beside the others, each with what the other had overwritten. Its files stay as they were."""
    for refuses in (False, True):
        stranger = Stranger(0, refuses)
        port, bus = server.free_port(), server.free_port()
        own = "127.0.0.1:%d@%d" % (port, bus)
        try:
            odd = Doomed(port, bus, ["--cluster-enabled", "yes", "--cluster-secret", SECRET, "--cluster-node-timeout", "60s", "--peers", "127.0.0.1:1@%d %s" % (stranger.port, own),
                                   "--cluster-announce-addr", own])
            assert odd.proc.wait(60) == 1
            assert "is of another version, and this one has not joined yet: it ends" in odd.output(), odd.output()[-2000:]
        finally:
            stranger.end()
        assert odd.stop() == "had ended with 1"


@with_cluster(3, "--threads", 2, "--cluster-call-timeout", "1s", "--cluster-node-timeout", "2s", "--gutter-ttl", "5m", *DISK)
def what_another_version_missed_is_not_seen_again(cl):
    """One node is replaced by one of another version, which cannot join and ends, and then is put back: as if it had been away."""
    keys, purged = keys_of(cl, 2, 30, "kept"), keys_of(cl, 2, 30, "gone")
    write(cl, 0, keys + purged, b"old")
    end(cl[2])
    stranger = Stranger(cl[2].bus, True)
    try:
        passed_over(cl, 2, (0, 1))
        write(cl, 0, keys[:15], b"new")
        write(cl, 1, keys[15:], None)
        purge(cl[1].conn(), "PREFIX.PURGE", "gone:")
        until("they meet", lambda: stranger.met > 0)
        before = rings(cl[:2])
        assert {r[2][1] for r in cl[0].conn().cmd("CLUSTER", "SLOTS")} == {cl[0].port, cl[1].port}
        assert all("cluster_known_nodes:3" in r.decode() for r in before)  # its slots have not moved
    finally:
        stranger.end()
    assert cl[2].start_on(cl[2].wanted)
    together(cl)
    never_again(cl, keys + purged, b"old")


ALONE = [who_finds_another_version_before_it_has_joined_ends, what_another_version_missed_is_not_seen_again]
ALL = [who_dials_with_another_version_is_refused, who_is_dialled_and_has_another_version_is_refused, who_speaks_of_members_in_another_version_is_no_member]
