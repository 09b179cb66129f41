"""What INFO counts of errors, per kind and per command, after the same calls on both servers."""
import time

CASES = {
    "errors of the form": ["SET k", "NOSUCH", "CLIENT NOSUCH", "CLIENT", "CLIENT ID x", "COMMAND NOSUCH", "GET a b", "SUBSTR"],
    "errors of arguments": ["SET k v EX 0", "INCRBY k x", "SETRANGE k -1 x", "EXPIRE k x", "HELLO 9", "CONFIG SET nosuch 1", "SELECT 99", "AUTH x"],
    "errors of types and values": ["HSET h f v", "GET h", "INCR h", "MGET h k", "HGET k f", "SET s abc", "INCR s", "RENAME none x", "RESTORE s 0 bad",
                                   "RESTORE s 0 bad REPLACE", "GET s"],
    "transactions": ["EXEC", "DISCARD", "MULTI", "MULTI", "NOSUCH", "EXEC", "MULTI", "HSET s f v", "GET s", "EXEC", "MULTI", "GET", "EXEC", "MULTI", "EXEC",
                     "MULTI", "EXEC x", "EXEC", "WATCH s", "SET s 1", "MULTI", "GET s", "EXEC", "MULTI", "WATCH s", "DISCARD"],
    "answered or not": ["CLIENT REPLY OFF", "NOSUCH", "GET h", "CLIENT REPLY ON", "CLIENT REPLY SKIP", "GET h", "PING"],
    "protocol": ["*1\r\nx\r\n"],
    "password": ["CONFIG SET requirepass pw", "AUTH no", "AUTH default no", "RESET", "GET k", "HELLO 3", "SET", "NOSUCH", "AUTH pw", "CONFIG SET requirepass ''"],
}
# these want the servers over their limits: what may grow is refused, alone or as a transaction
FULL = ["SET f 1", "APPEND f 1", "GET f", "DEL f", "HSET f a b", "HDEL f a", "SETRANGE f 5 x", "SETBIT f 1 1", "BITOP NOT f none", "INCR f",
        "MSET f 1 g 2", "COPY f g", "RENAME f g", "EXPIRE f 10", "RESTORE f 0 x", "GETEX f PERSIST", "HINCRBY f a 1",
        "MULTI", "SET f 1", "EXEC", "MULTI", "GET f", "EXEC", "MULTI", "DEL f", "SET f 1", "EXEC"]


def words(line):
    return ["" if w == "''" else w for w in line.split()]


def run(conn, lines):
    replies = []
    silent = False
    for line in lines:
        if line.startswith("*"):
            conn.sock.sendall(line.encode())
            replies.append(conn.raw())
            continue
        conn.send(*words(line))
        if line == "CLIENT REPLY ON":
            silent = False
        if line in ("CLIENT REPLY OFF", "CLIENT REPLY SKIP"):
            silent = True
        elif silent:
            silent = line != "GET h" and silent  # the one that SKIP skips
        else:
            replies.append(conn.raw())
    return replies


def counts(server):
    """(kinds of errors, command -> calls, rejected, failed, all errors)"""
    conn = server.conn()
    text = conn.cmd("INFO", "everything").decode()
    conn.close()
    kinds, commands, total = {}, {}, None
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        if name.startswith("errorstat_"):
            kinds[name[10:]] = value
        elif name.startswith("cmdstat_"):
            fields = dict(f.split("=") for f in value.split(","))
            commands[name[8:]] = tuple(int(fields[f]) for f in ("calls", "rejected_calls", "failed_calls"))
        elif name == "total_error_replies":
            total = int(value)
    return {"kinds": kinds, "commands": commands, "total": total}


def compare(name, servers, lines, out):
    found = []
    for s in servers:
        conn = s.conn()
        if name != "full":
            conn.cmd("FLUSHALL")
        conn.cmd("CONFIG", "RESETSTAT")
        replies = run(conn, lines)
        conn.close()
        found.append((replies, counts(s)))
    for s in servers:
        conn = s.conn()
        if str(conn.cmd("PING")).startswith("NOAUTH"):
            conn.cmd("AUTH", "pw")
            conn.cmd("CONFIG", "SET", "requirepass", "")
        conn.cmd("CONFIG", "RESETSTAT")
        conn.close()
        left = counts(s)
        if left["kinds"] or left["total"] or set(left["commands"]) - {"config|resetstat", "info"}:
            out.append("%s: RESETSTAT left %r" % (name, left))
    (_, a), (_, b) = found
    for what in a:
        if a[what] != b[what]:
            out.append("%s, %s:\n redis  %r\n strata %r" % (name, what, a[what], b[what]))
    for line, x, y in zip([l for l in lines], found[0][0], found[1][0]):
        if name == "full" and x[:5] != y[:5]:
            out.append("%s, %s:\n redis  %r\n strata %r" % (name, line, x, y))


def fill(server):
    conn = server.conn()
    deadline = time.time() + 30
    while not str(conn.cmd("SET", "filler", "x" * 100000)).startswith("OOM"):
        assert time.time() < deadline, "no OOM"
        conn.cmd("APPEND", "fill", "x" * 1000000)
    conn.close()


def differences(oracle, ours):
    out = []
    for name, lines in CASES.items():
        compare(name, (oracle, ours), lines, out)
    return out


def differences_when_full(servers):
    """servers: with room for next to nothing, and noeviction."""
    out = []
    for s in servers:
        fill(s)
    compare("full", servers, FULL, out)
    return out
