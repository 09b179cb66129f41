"""A name server for tests: dnsd.py ADDRESS FILE. Lines of the file are `A name address` and `SRV name port target`; it is read anew for each question."""
import socket
import struct
import sys

A, SRV = 1, 33


def name_at(data, at):
    words = []
    while data[at] != 0:
        words.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(words), at + 1


def packed(name):
    return b"".join(bytes([len(w)]) + w.encode() for w in name.split(".")) + b"\0"


def records(path, name, kind):
    with open(path) as f:
        for line in f:
            words = line.split()
            if words[:2] == ["A", name] and kind == A:
                yield socket.inet_aton(words[2])
            elif words[:2] == ["SRV", name] and kind == SRV:
                yield struct.pack(">HHH", 0, 0, int(words[2])) + packed(words[3])


def answer(path, data):
    name, end = name_at(data, 12)
    kind = struct.unpack_from(">H", data, end)[0]
    found = list(records(path, name, kind))
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(r)) + r for r in found)
    return data[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0) + data[12 : end + 4] + body


def main():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[1], 53))
    print("ready", flush=True)
    while True:
        data, sender = sock.recvfrom(4096)
        sock.sendto(answer(sys.argv[2], data), sender)


main()
