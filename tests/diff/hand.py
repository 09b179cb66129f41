"""Calls written by hand (hand.txt), compared byte for byte but where the file says otherwise."""
import os
import shlex

from resp import decode

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hand.txt")


def words(line):
    """redis-cli's quoting: escapes inside double quotes."""
    out = []
    for w in shlex.split(line, posix=False):
        if w[:1] == w[-1:] == '"':
            w = w[1:-1].encode().decode("unicode_escape")
        out.append(w.encode("latin1"))
    return out


def calls():
    """(line number, mark, words) of each call."""
    with open(PATH) as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            if line and not line.startswith("#"):
                mark, rest = (line[0], line[2:]) if line[:2] in ("~ ", "= ") else ("", line)
                yield number, mark, words(rest)


def unordered(value):
    return sorted(map(repr, map(unordered, value))) if isinstance(value, list) else value


def same(mark, a, b):
    if mark == "~":
        return a[:1] == b[:1]
    return a == b or (mark == "=" and unordered(decode(a)[0]) == unordered(decode(b)[0]))


def differences(oracle, ours, proto):
    conns, out = [oracle.conn(), ours.conn()], []
    for c in conns:
        c.cmd("HELLO", proto), c.cmd("SELECT", 0), c.cmd("FLUSHALL")
    for number, mark, call in calls():
        a, b = [(c.send(*call), c.raw())[1] for c in conns]
        if not same(mark, a, b):
            out.append("hand.txt:%d: %s\n redis:  %r\n strata: %r" % (number, b" ".join(call).decode("latin1"), a[:300], b[:300]))
    for c in conns:
        c.close()
    return out
