"""Copies of hot keys at nodes that do not own them: they are made, and they end when they must."""
import signal
import threading
import time

from nodes import info, until
from resp import Error


def count(c, name):
    return int(info(c, "peers")[name])


def heat(c, key, more=20, call=None):
    """Reads until a copy answers."""
    start = count(c, "near_hits")
    for _ in range(1000):
        for _ in range(more):
            c.cmd(*(call or ["GET", key]))
        if count(c, "near_hits") > start:
            return
    raise AssertionError("no copy of %s is made" % (call or key))


def hot_keys_are_answered_here(cl):
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "hot")
    a.cmd("SET", k, "v")
    heat(b, k)
    served = count(a, "peer_served_calls")
    hits = count(b, "near_hits")
    got = [b.cmd("GET", k) for _ in range(200)]
    assert got == [b"v"] * 200
    assert count(b, "near_hits") - hits > 100, count(b, "near_hits") - hits
    assert count(a, "peer_served_calls") - served < 100
    assert count(b, "near_copies") >= 1 and count(b, "near_bytes") > 0 and count(a, "near_grants") >= 1
    b.cmd("HELLO", "3")
    assert b.cmd("GET", k) == b"v"


READS = [["GET", "s"], ["STRLEN", "s"], ["GETRANGE", "s", "1", "3"], ["SUBSTR", "s", "0", "-1"], ["BITCOUNT", "s"], ["BITCOUNT", "s", "0", "0"], ["GETBIT", "s", "3"],
         ["BITPOS", "s", "1"], ["BITFIELD_RO", "s", "GET", "u8", "0"], ["EXISTS", "s"], ["TYPE", "s"], ["EXPIRETIME", "s"], ["PEXPIRETIME", "s"], ["HGET", "h", "f"],
         ["HGET", "h", "none"], ["HMGET", "h", "f", "none"], ["HGETALL", "h"], ["HLEN", "h"], ["HKEYS", "h"], ["HVALS", "h"], ["HEXISTS", "h", "f"], ["HSTRLEN", "h", "f"],
         ["BF.EXISTS", "b", "i"], ["BF.MEXISTS", "b", "i", "j"], ["BF.CARD", "b"], ["BF.INFO", "b", "ITEMS"]]
CHANGES = {"s": ["SETRANGE", "s", "0", "QQ"], "h": ["HSET", "h", "f", "w", "none", "some"], "b": ["BF.ADD", "b", "j"]}


def reads_of_every_kind_are_answered_here(cl):
    """And each copy ends with a change of the key: at once where it was made, soon elsewhere."""
    a, b = cl[0].conn(), cl[1].conn()
    for n in (a, b):
        n.cmd("CONFIG", "SET", "near-ttl", "1h")
    try:
        for proto in ("2", "3"):
            for via in (a, b):  # who changes: the owner, or the node with the copy
                for read in READS:
                    k = cl.key_of(0, "kind")
                    named = lambda words: [words[0]] + [k if w in CHANGES else w for w in words[1:2]] + words[2:]
                    a.cmd("DEL", k)
                    got = a.cmd("SET", k, "value", "EX", "1000") if read[1] == "s" else a.cmd("HSET", k, "f", "v") if read[1] == "h" else a.cmd("BF.ADD", k, "i")
                    assert not isinstance(got, Error), got
                    for c in (a, b):
                        c.cmd("HELLO", proto)
                    call = named(read)
                    heat(b, k, call=call)
                    for c in (a, b):
                        c.send(*call)
                    want, seen = a.raw(), b.raw()
                    assert want == seen, (proto, call, want, seen)
                    assert not isinstance(via.cmd(*named(CHANGES[read[1]])), Error)
                    a.send(*call)
                    want = a.raw()

                    def now():
                        b.send(*call)
                        return b.raw()

                    if via is b:
                        assert now() == want, (proto, call)
                    until("%s is seen" % call, lambda: now() == want)
                    if read[0] in ("EXISTS", "TYPE", "GET"):
                        heat(b, k, call=call)
                        b.cmd("DEL", k)
                        assert now() in (b":0\r\n", b"+none\r\n", b"$-1\r\n", b"_\r\n"), call
    finally:
        for n in (a, b):
            n.cmd("CONFIG", "SET", "near-ttl", "1s")


def what_time_or_chance_answers_is_not_kept(cl):
    """TTL counts down, HRANDFIELD is another one each time: the owner is asked."""
    a, b = cl[0].conn(), cl[1].conn()
    k, h = cl.key_of(0, "ttl"), cl.key_of(0, "random")
    a.cmd("SET", k, "v", "EX", "1000")
    a.cmd("HSET", h, "f", "v", "g", "w")
    before = count(b, "near_hits")
    for call in (["TTL", k], ["PTTL", k], ["TOUCH", k], ["DUMP", k], ["OBJECT", "FREQ", k], ["HRANDFIELD", h], ["HSCAN", h, "0"], ["GET", h]):
        for _ in range(60):
            b.cmd(*call)
    assert count(b, "near_hits") == before


def other_nodes_are_a_tier(cl):
    """What a node asks others for counts as its L3, forwarded reads as well as copies; the owner's memory counts them, too."""
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "tier")
    a.cmd("SET", k, "v")

    def l3():
        lines = info(b, "tiers")
        return {n: int(lines["l3_" + n]) for n in ("hits", "misses", "fills", "bytes", "keys", "limit_bytes")}, int(lines["l1_misses"])

    before, l1 = l3()
    assert b.cmd("GET", k) == b"v" and b.cmd("STRLEN", k) == 1
    assert b.cmd("GET", cl.key_of(0, "absent:")) is None and b.cmd("HGET", cl.key_of(0, "absent:"), "f") is None
    b.cmd("MGET", k, cl.key_of(0, "other"))  # is no single read
    after, l1_after = l3()
    assert (after["hits"] - before["hits"], after["misses"] - before["misses"], l1_after - l1) == (2, 2, 4), (before, after, l1, l1_after)
    near = count(b, "near_hits")
    heat(b, k)
    more, _ = l3()
    assert more["hits"] - after["hits"] > count(b, "near_hits") - near > 0 and more["fills"] > before["fills"], (after, more)
    assert more["keys"] > 0 and more["bytes"] > 0 and more["limit_bytes"] > 0, more
    assert int(info(b, "tiers")["l3_latency_us_p99.99"]) > 0  # a copy may take less than a microsecond
    assert b.cmd("CONFIG", "RESETSTAT") == "OK" and l3()[0]["hits"] == 0


def what_is_not_copied_is_told_by_reason(cl):
    a, b = cl[0].conn(), cl[1].conn()
    k, large, h = cl.key_of(0, "why"), cl.key_of(0, "large"), cl.key_of(0, "hash")
    a.cmd("SET", k, "v")
    a.cmd("SET", large, b"x" * (3 << 20))
    a.cmd("HSET", h, "f", "v")

    def told(word, reason):
        return int(info(b, "tiers")["l3_%s_%s" % (word, reason)])

    def grows(word, reason, *words):
        before = told(word, reason)
        for _ in range(1000):
            b.cmd(*words)
            if told(word, reason) > before:
                return
        raise AssertionError("%s %s stays at %d" % (word, reason, before))

    grows("rejected", "admission", "GET", k)
    grows("rejected", "kind", "TTL", h)
    grows("rejected", "size", "GET", large)
    heat(b, k)
    before = told("evicted", "changed")
    a.cmd("SET", k, "w")
    until("the copy is found to be old", lambda: b.cmd("GET", k) == b"w" and told("evicted", "changed") > before)
    heat(b, k)
    before = told("evicted", "dropped")
    b.cmd("CONFIG", "SET", "near-ttl", "500ms")
    until("shorter lives end the longer ones", lambda: told("evicted", "dropped") > before)
    b.cmd("CONFIG", "SET", "near-ttl", "1s")
    heat(b, k)
    until("it ends by itself", lambda: told("evicted", "expired") > 0)


def a_write_at_the_owner_is_seen_at_once(cl):
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "told")
    a.cmd("CONFIG", "SET", "near-ttl", "1h")
    b.cmd("CONFIG", "SET", "near-ttl", "1h")
    try:
        for words, want in ((["SET", k, "w"], b"w"), (["APPEND", k, "x"], b"wx"), (["EXPIRE", k, "1000"], None), (["MSET", k, "m"], b"m"), (["DEL", k], None), (["SET", k, "again"], b"again"),
                            (["PREFIX.PURGE", "told"], None), (["SET", k, "last"], b"last"), (["FLUSHALL"], None)):
            if a.cmd("EXISTS", k):
                heat(b, k)
            heard = count(b, "near_heard")
            assert not isinstance(a.cmd(*words), Error), words
            want = a.cmd("GET", k)
            until("%s is seen" % words[0], lambda: b.cmd("GET", k) == want)
            assert words[0] == "SET" and heard == count(b, "near_heard") or count(b, "near_heard") > heard, words
    finally:
        a.cmd("CONFIG", "SET", "near-ttl", "1s")
        b.cmd("CONFIG", "SET", "near-ttl", "1s")


def who_writes_reads_what_it_wrote(cl):
    """Several clients on all loops of a node, each with a key of its own that others read all the time."""
    keys = [cl.key_of(0, "own%d:" % i) for i in range(4)]
    stop, wrong = [], []

    def reader(key, node):
        c = cl[node].conn()
        while not stop:
            c.cmd("GET", key)

    def writer(key, node):
        cs = [cl[node].conn() for _ in range(3)]  # of which some are another loop's
        for i in range(250):
            c = cs[i % 3]
            if i % 5 == 4:
                c.cmd("MULTI")
                c.cmd("SET", key, i)
                c.cmd("EXEC")
            elif i % 5 == 3:
                c.cmd("MSET", key, i, "other" + key, i)
            else:
                c.cmd("SET", key, i)
            for other in cs:
                got = other.cmd("GET", key)
                if got != b"%d" % i:
                    wrong.append((node, key, i, got))
        for c in cs:  # and in one pipeline
            for i in range(100):
                c.sock.sendall(c.encode("GET", key) * 2 + c.encode("SET", key, "p%d" % i) + c.encode("GET", key))
                c.read(), c.read(), c.read()
                got = c.read()
                if got != b"p%d" % i:
                    wrong.append(("pipeline", key, i, got))

    readers = [threading.Thread(target=reader, args=(k, n)) for k in keys[:2] for n in (0, 1, 2)]
    writers = [threading.Thread(target=writer, args=(k, n % 3)) for n, k in enumerate(keys)]
    for t in readers + writers:
        t.start()
    for t in writers:
        t.join()
    stop.append(1)
    for t in readers:
        t.join()
    assert not wrong, wrong[:5]
    assert sum(count(n.conn(), "near_hits") for n in cl) > 0


def a_watch_does_not_read_copies(cl):
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "watch")
    a.cmd("SET", k, "v")
    heat(b, k)
    b.cmd("WATCH", k)
    hits = count(b, "near_hits")
    assert [b.cmd("GET", k) for _ in range(50)] == [b"v"] * 50 and count(b, "near_hits") == hits
    b.cmd("UNWATCH")


def a_copy_ends_with_the_value(cl):
    """What is left of the owner's deadline bounds it, not near-ttl."""
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "ends")
    for c in (a, b):
        c.cmd("CONFIG", "SET", "near-ttl", "1h")
    a.cmd("SET", k, "v", "PX", 1500)
    end = time.monotonic() + 1.5
    while b.cmd("GET", k) is not None:
        now = time.monotonic()
        seen = b.cmd("GET", k)
        assert seen is None or now < end + 0.002, now - end  # asked after the end
    for c in (a, b):
        c.cmd("CONFIG", "SET", "near-ttl", "1s")


def without_room_there_are_none(cl):
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "off")
    a.cmd("SET", k, "v")
    heat(b, k)
    b.cmd("CONFIG", "SET", "near-size", "0")
    until("they are gone", lambda: count(b, "near_copies") == 0)
    hits = count(b, "near_hits")
    assert [b.cmd("GET", k) for _ in range(100)] == [b"v"] * 100 and count(b, "near_hits") == hits
    b.cmd("CONFIG", "SET", "near-size", "16mb")


def a_lost_owner_takes_its_copies_along(cl, how):
    """Its link is gone, or it is silent: what it has to say is not heard any more."""
    a, b = cl[0].conn(), cl[1].conn()
    k = cl.key_of(0, "lost")
    for n in cl:
        n.conn().cmd("CONFIG", "SET", "near-ttl", "1h")
    a.cmd("SET", k, "v")
    heat(b, k)
    assert count(b, "near_copies") >= 1
    cl[0].proc.send_signal(how)
    until("its copies are gone", lambda: count(b, "near_copies") == 0)
    assert b.cmd("GET", k) is None
    if how == signal.SIGSTOP:
        cl[0].proc.send_signal(signal.SIGCONT)
