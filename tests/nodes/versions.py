"""Nodes of another version of the peers' protocol, played by hand: refused with a clear line, and the ring is as it was."""
import hashlib
import hmac
import os
import socket
import struct
import threading

from nodes import SECRET, until

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


ALL = [who_dials_with_another_version_is_refused, who_is_dialled_and_has_another_version_is_refused, who_speaks_of_members_in_another_version_is_no_member]
