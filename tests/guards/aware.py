"""What clients say that know of the guards: LEASE.GET, LEASE.SET, LEASE.DROP; TAG.ADD, TAG.PURGE, PREFIX.PURGE."""
import random
import shutil
import tempfile
import threading

import server
from keeping import counters, info, until
from resp import Error


def lease(c, key, *options):
    """The reply as a dictionary."""
    reply = c.cmd("LEASE.GET", key, *options)
    assert isinstance(reply, list) and len(reply) == 8, reply
    assert reply[::2] == [b"state", b"value", b"token", b"pttl"], reply
    return dict(zip(("state", "value", "token", "pttl"), reply[1::2]))


def clean(fn):
    def run(s):
        c = s.conn()
        c.cmd("CONFIG", "SET", "policy", "")
        c.cmd("FLUSHALL")
        fn(s, c)
        c.cmd("CONFIG", "SET", "policy", "")
        c.cmd("FLUSHALL")
        until("no lease is left", lambda: int(info(c, "guards")["guard_leases"]) == 0)
    run.__name__ = fn.__name__
    return run


@clean
def one_wins_and_the_others_hear_so(s, c):
    o = s.conn()
    won = lease(c, "k")
    assert won["state"] == b"won" and won["value"] is None and len(won["token"]) == 16 and won["pttl"] == -2, won
    assert lease(o, "k") == {"state": b"wait", "value": None, "token": None, "pttl": -2}
    o.send("LEASE.GET", "k", "WAIT", 20000)
    until("it waits", lambda: int(info(c, "clients")["blocked_clients"]) == 1)
    assert c.cmd("LEASE.SET", "k", "v", won["token"], "EX", 100) == 1
    assert dict(zip(*[iter(o.read())] * 2))[b"value"] == b"v"
    hit = lease(o, "k")
    assert hit["state"] == b"hit" and hit["value"] == b"v" and hit["token"] is None and 99000 < hit["pttl"] <= 100000, hit
    assert c.cmd("LEASE.SET", "k", "again", won["token"]) == 0 and c.cmd("GET", "k") == b"v", "a token is good for one value"
    assert lease(c, "j")["state"] == b"won" and lease(o, "j", "WAIT", 30)["state"] == b"wait", "for so long"


@clean
def in_resp3_it_is_a_map(s, c):
    c.cmd("HELLO", 3)
    c.send("LEASE.GET", "k")
    raw = c.raw()
    assert raw.startswith(b"%4\r\n$5\r\nstate\r\n$3\r\nwon\r\n$5\r\nvalue\r\n_\r\n$5\r\ntoken\r\n$16\r\n") and raw.endswith(b"$4\r\npttl\r\n:-2\r\n"), raw
    c.cmd("SET", "k", "v")
    c.send("LEASE.GET", "k")
    assert c.raw() == b"%4\r\n$5\r\nstate\r\n$3\r\nhit\r\n$5\r\nvalue\r\n$1\r\nv\r\n$5\r\ntoken\r\n_\r\n$4\r\npttl\r\n:-1\r\n"


@clean
def what_is_written_or_deleted_meanwhile_counts(s, c):
    o = s.conn()
    token = lease(c, "k")["token"]
    assert o.cmd("SET", "k", "newer") == "OK"
    assert c.cmd("LEASE.SET", "k", "stale set", token) == 0 and c.cmd("GET", "k") == b"newer"
    o.cmd("DEL", "k")
    token = lease(c, "k")["token"]
    assert o.cmd("DEL", "k") == 0
    assert c.cmd("LEASE.SET", "k", "of before the DEL", token) == 0 and c.cmd("GET", "k") is None
    token = lease(c, "k")["token"]
    assert c.cmd("PREFIX.PURGE", "k") == "OK"
    assert c.cmd("LEASE.SET", "k", "of before the purge", token) == 0 and c.cmd("GET", "k") is None
    token = lease(c, "k")["token"]
    c.cmd("FLUSHALL")
    assert c.cmd("LEASE.SET", "k", "of before the flush", token) == 0
    token = lease(c, "k")["token"]
    o.send("LEASE.GET", "k", "WAIT", 20000)
    until("it waits", lambda: int(info(c, "clients")["blocked_clients"]) == 1)
    assert c.cmd("LEASE.DROP", "k", token) == 1 and c.cmd("LEASE.DROP", "k", token) == 0
    assert dict(zip(*[iter(o.read())] * 2))[b"state"] == b"won", "the next one loads"


@clean
def a_lease_ends_with_its_time(s, c):
    token = lease(c, "k")["token"]
    c.cmd("DEBUG", "CLOCK", "ADVANCE", 11000)
    assert c.cmd("LEASE.SET", "k", "late", token) == 0
    assert lease(c, "k")["token"] not in (None, token)


@clean
def stale_and_early(s, c):
    c.cmd("POLICY", "SET", "k*", "grace=1h")
    c.cmd("SET", "k", "old", "EX", 100)
    assert lease(c, "k", "EARLY", 99)["state"] == b"hit"
    early = lease(c, "k", "EARLY", 101)
    assert early["state"] == b"won" and early["value"] == b"old", early
    assert lease(s.conn(), "k", "EARLY", 101)["state"] == b"hit", "one is enough"
    c.cmd("LEASE.DROP", "k", early["token"])
    c.cmd("DEBUG", "CLOCK", "ADVANCE", 160000)
    assert c.cmd("GET", "k") is None
    won = lease(c, "k", "STALE", 100)
    assert won["state"] == b"won" and won["value"] == b"old" and -100000 < won["pttl"] <= -60000, won
    assert lease(s.conn(), "k", "STALE", 100)["state"] == b"stale"
    assert lease(s.conn(), "k", "STALE", 10) == {"state": b"wait", "value": None, "token": None, "pttl": -2}, "too old for it"


@clean
def lease_commands_refuse_nonsense(s, c):
    for call, want in ((("LEASE.GET", "k", "WAIT"), "ERR syntax error"), (("LEASE.GET", "k", "NAP", 1), "ERR syntax error"),
                       (("LEASE.GET", "k", "WAIT", "x"), "ERR value is not an integer"), (("LEASE.GET", "k", "STALE", -1), "ERR value is out of range"),
                       (("LEASE.SET", "k", "v", "nonsense"), "ERR invalid token"), (("LEASE.SET", "k", "v", "0123456789abcdef", "EX"), "ERR syntax error"),
                       (("LEASE.SET", "k", "v", "0123456789abcdef", "EX", 0), "ERR invalid expire"), (("LEASE.DROP", "k", ""), "ERR invalid token"),
                       (("LEASE.GET",), "ERR wrong number")):
        reply = c.cmd(*call)
        assert isinstance(reply, Error) and want in reply, (call, reply)
    c.cmd("HSET", "h", "f", "v")
    assert c.cmd("LEASE.GET", "h").startswith("WRONGTYPE")
    assert c.cmd("LEASE.SET", "k", "v", "0123456789abcdef") == 0


@clean
def a_prefix_goes_at_once(s, c):
    for k in ("user:1", "user:2", "use", "users", "other"):
        c.cmd("SET", k, k)
    c.cmd("HSET", "user:h", "f", "v")
    c.cmd("SELECT", 1)
    c.cmd("SET", "user:1", "elsewhere")
    c.cmd("SELECT", 0)
    assert c.cmd("PREFIX.PURGE", "user:") == "OK"
    assert c.cmd("MGET", "user:1", "user:2", "use", "users", "other") == [None, None, b"use", b"users", b"other"]
    assert c.cmd("EXISTS", "user:h") == 0 and c.cmd("TTL", "user:1") == -2 and sorted(c.cmd("KEYS", "*")) == [b"other", b"use", b"users"]
    until("they are no keys", lambda: c.cmd("DBSIZE") == 3)
    c.cmd("SET", "user:1", "new")
    assert c.cmd("GET", "user:1") == b"new", "what is written later stays"
    c.cmd("SELECT", 1)
    assert c.cmd("GET", "user:1") == b"elsewhere", "databases are apart"
    c.cmd("SELECT", 0)
    assert c.cmd("PREFIX.PURGE", "") == "OK" and c.cmd("KEYS", "*") == [], "the empty prefix is all"
    assert c.cmd("PREFIX.PURGE", "a", "HARD").startswith("ERR syntax error")


@clean
def tags_go_at_once(s, c):
    c.cmd("POLICY", "SET", "a*", "ttl=1h")
    for k in "abcd":
        c.cmd("SET", k, k)
    assert c.cmd("TAG.ADD", "a", "red", "round") == 2 and c.cmd("TAG.ADD", "a", "red", "new") == 1
    assert c.cmd("TAG.ADD", "b", "red") == 1 and c.cmd("TAG.ADD", "c", "round") == 1 and c.cmd("TAG.ADD", "nokey", "red") == 0
    assert c.cmd("TAG.PURGE", "red") == "OK"
    assert c.cmd("MGET", *"abcd") == [None, None, b"c", b"d"]
    assert counters(c, "a*")["purged"] == 1, "of the policy's keys"
    c.cmd("SET", "a", "again")
    assert c.cmd("TAG.PURGE", "red") == "OK" and c.cmd("GET", "a") == b"again", "tags are the value's that had them"
    assert c.cmd("TAG.ADD", "a", "red") == 1
    c.cmd("APPEND", "a", "!")
    c.cmd("EXPIRE", "a", 100)
    c.cmd("RENAME", "a", "renamed")
    assert c.cmd("TAG.PURGE", "other", "round") == "OK"
    assert c.cmd("MGET", "renamed", "c", "d") == [b"again!", None, b"d"]
    reply = c.cmd("TAG.ADD", "d", *["tag:%d" % i for i in range(17)])
    assert isinstance(reply, Error) and "at most 16 tags" in reply, reply
    c.cmd("MULTI")
    c.cmd("TAG.ADD", "d", "x")
    c.cmd("TAG.PURGE", "x")
    c.cmd("GET", "d")
    assert c.cmd("EXEC") == [1, "OK", None]


@clean
def a_soft_purge_leaves_what_grace_may_serve(s, c):
    c.cmd("POLICY", "SET", "g*", "grace=1h", "wait=10s")
    for k in ("g1", "g2", "plain"):
        c.cmd("SET", k, "old", *random.choice(((), ("EX", 1000))))
        c.cmd("TAG.ADD", k, "t")
    assert c.cmd("TAG.PURGE", "t", "SOFT") == "OK"
    assert c.cmd("EXISTS", "g1", "g2", "plain") == 0
    loader, o = s.conn(), s.conn()
    assert loader.cmd("GET", "g1") is None and o.cmd("GET", "g1") == b"old", "one loads, the others get what was"
    assert o.cmd("GET", "plain") is None, "no grace, nothing left"
    assert loader.cmd("SET", "g1", "new") == "OK" and o.cmd("GET", "g1") == b"new"
    assert c.cmd("PREFIX.PURGE", "g", "SOFT") == "OK"
    assert loader.cmd("GET", "g1") is None and o.cmd("GET", "g1") == b"new"
    assert c.cmd("PREFIX.PURGE", "g") == "OK"
    assert s.conn().cmd("GET", "g2") is None and lease(s.conn(), "g2", "STALE", 3600)["value"] is None, "a hard one leaves nothing"


@clean
def what_a_soft_purge_left_goes_with_its_grace(s, c):
    c.cmd("POLICY", "SET", "g*", "grace=10s")
    for i in range(200):
        c.cmd("SET", "g%d" % i, "x" * 1000, *(("EX", 100000) if i % 2 else ()))
    assert c.cmd("PREFIX.PURGE", "g", "SOFT") == "OK"
    until("they are no keys", lambda: c.cmd("DBSIZE") == 0)
    live = int(info(c, "tiers")["l1_live_bytes"])
    assert live > 200000, live
    c.cmd("DEBUG", "CLOCK", "ADVANCE", 5000)
    assert lease(c, "g0", "STALE", 100)["value"] and lease(c, "g1", "STALE", 100)["value"]
    c.cmd("DEBUG", "CLOCK", "ADVANCE", 6000)
    until("their memory is free", lambda: int(info(c, "tiers")["l1_live_bytes"]) < live - 190000)
    assert lease(s.conn(), "g2", "STALE", 100)["value"] is None
    c.cmd("FLUSHALL")


@clean
def purges_and_writes_race(s, c):
    """What was acknowledged before a purge is never seen after it, what is written after it is."""
    wrong, stop = [], threading.Event()

    def work(name):
        mine, n = s.conn(), 0
        try:
            while not stop.is_set():
                n += 1
                keys = ["%s:%d" % (name, i) for i in range(5)]
                for k in keys:
                    mine.cmd("SET", k, n)
                    mine.cmd("TAG.ADD", k, name)
                assert mine.cmd(*random.choice((("TAG.PURGE", name), ("PREFIX.PURGE", name + ":")))) == "OK"
                assert mine.cmd("MGET", *keys) == [None] * 5
                mine.cmd("SET", keys[0], "after")
                assert mine.cmd("GET", keys[0]) == b"after"
        except Exception as e:
            wrong.append((name, n, e))
    threads = [threading.Thread(target=work, args=("n%d" % i,)) for i in range(6)]
    for t in threads:
        t.start()
    stop.wait(2)
    stop.set()
    for t in threads:
        t.join()
    assert not wrong, wrong


def purges_outlive_kills_in_both_tiers():
    """Acknowledged, a purge holds after kill -9 of what is on disk and of what comes back from there."""
    for durability in ("none", "everysec", "always"):
        dir = tempfile.mkdtemp(prefix="strata-test-")
        args = ("--l2", "on", "--l2-write-policy", "through", "--l2-durability", durability, "--l2-thrash-guard", "off", "--threads", "2", "--policy",
                "soft:* grace=1h")
        servers = [server.strata(*args, dir=dir)]
        try:
            purge_and_kill(servers[0])
            servers.append(server.strata(*args, dir=dir))
            look_after_the_kill(servers[1].conn(), durability)
        except Exception:
            for s in servers:
                s.kill()
            raise
        wrong = servers[1].stop()
        assert wrong is None, wrong
        shutil.rmtree(dir, ignore_errors=True)


def purge_and_kill(s):
    c = s.conn()
    for i in range(300):
        c.cmd("SET", "gone:%d" % i, "x", "EX", 1000)
        c.cmd("SET", "soft:%d" % i, "x", "EX", 1000)
        c.cmd("SET", "stay:%d" % i, "x")
        if i % 3 == 0:
            c.cmd("TAG.ADD", "stay:%d" % i, "third")
    c.cmd("DEBUG", "EVICT")
    until("it is on disk", lambda: int(info(c, "tiers")["l2_queue_bytes"]) == 0)
    assert all(c.cmd("GET", "gone:%d" % i) == b"x" for i in range(0, 300, 2)), "half of it in memory again"
    assert c.cmd("PREFIX.PURGE", "gone:") == "OK" and c.cmd("TAG.PURGE", "third") == "OK" and c.cmd("PREFIX.PURGE", "soft:", "SOFT") == "OK"
    c.cmd("SET", "gone:7", "after")
    s.kill()


def look_after_the_kill(c, durability):
    left = [i for i in range(300) if c.cmd("GET", "gone:%d" % i) not in (None, b"after")]
    assert not left, (durability, left)
    assert c.cmd("GET", "gone:7") in ((b"after",) if durability == "always" else (b"after", None))
    assert all(c.cmd("GET", "soft:%d" % i) is None for i in range(300))
    assert lease(c, "soft:1", "STALE", 3000)["value"] == b"x", "stale, not gone"
    for i in range(300):
        want = (None,) if i % 3 == 0 else (b"x",) if durability == "always" else (b"x", None)
        assert c.cmd("GET", "stay:%d" % i) in want, (durability, i)


EVERY = (one_wins_and_the_others_hear_so, in_resp3_it_is_a_map, what_is_written_or_deleted_meanwhile_counts, a_lease_ends_with_its_time, stale_and_early,
         lease_commands_refuse_nonsense, a_prefix_goes_at_once, tags_go_at_once, a_soft_purge_leaves_what_grace_may_serve,
         what_a_soft_purge_left_goes_with_its_grace, purges_and_writes_race)
ALONE = (purges_outlive_kills_in_both_tiers,)
