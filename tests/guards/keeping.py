"""How values under a policy are kept: `quota` bounds what they take of memory, `compress` what they take on disk."""
import random
import tempfile
import threading
import time

import server
from resp import Error


def counts(c, pattern):
    flat = c.cmd("POLICY", "GET", pattern)
    return {k.decode(): v for k, v in zip(flat[2::2], flat[3::2])}


def info(c, section):
    return dict(line.split(":", 1) for line in c.cmd("INFO", section).decode().split("\r\n") if ":" in line)


def counters(c, pattern):
    start = "policy_%s:" % pattern
    line = next(x for x in c.cmd("INFO", "guards").decode().split("\r\n") if x.startswith(start))
    return {k: int(v) for k, v in (pair.split("=") for pair in line[len(start) :].split(","))}


def until(what, fn, seconds=30):
    deadline = time.time() + seconds
    while not fn():
        assert time.time() < deadline, "never: " + what
        time.sleep(0.01)


def in_force(c, pattern):
    """A quota is from the next tick on: a value of the pattern is counted then."""
    name = pattern.replace("*", "first")

    def counted():
        c.cmd("SET", name, "x")
        return counts(c, pattern)["quota_keys"] > 0
    until("the quota of " + pattern, counted)
    c.cmd("DEL", name)


def pipelined(c, calls):
    for at in range(0, len(calls), 500):
        part = calls[at:at + 500]
        c.sock.sendall(b"".join(c.encode(*call) for call in part))
        for call in part:
            reply = c.read()
            assert not isinstance(reply, Error), (call[:2], reply)


def a_quota_bounds_its_pattern_and_spares_the_others(s):
    c = s.conn()
    limit = 300000
    pipelined(c, [("SET", "free:%d" % i, "x" * 100) for i in range(2000)])
    pipelined(c, [("SET", "tight:%d" % i, "x" * 100) for i in range(2000)])  # they were there before
    evicted = int(info(c, "stats")["evicted_keys"])
    assert c.cmd("POLICY", "SET", "tight:*", "quota=%d" % limit) == "OK"
    until("those that were there are counted", lambda: counts(c, "tight:*")["quota_keys"] == 2000)
    for n in (100, 2000, 40000, 3):  # smaller and larger ones, on the heap, too
        pipelined(c, [("SET", "tight:%d" % random.randrange(3000), "y" * n) for _ in range(2000)])
        until("the bound holds", lambda: counts(c, "tight:*")["quota_bytes"] <= limit)
    for i in range(200):  # hashes that grow in place
        pipelined(c, [("HSET", "tight:h%d" % (i % 20), "f%d" % i, "z" * 3000)])
    until("the bound holds", lambda: counts(c, "tight:*")["quota_bytes"] <= limit)
    now = counts(c, "tight:*")
    assert now["quota_evicted"] > 1000 and now["quota_bytes"] > limit // 2, now
    until("both count the same", lambda: int(info(c, "stats")["evicted_keys"]) - evicted == counts(c, "tight:*")["quota_evicted"] == counts(c, "tight:*")["evicted"])
    now = counts(c, "tight:*")
    assert all(c.cmd("GET", "free:%d" % i) == b"x" * 100 for i in range(2000)), "of the other pattern nothing goes"
    line = next(x for x in c.cmd("INFO", "guards").decode().split("\r\n") if x.startswith("policy_tight:*:"))
    assert "quota_bytes=%d," % now["quota_bytes"] in line, line
    assert c.cmd("POLICY", "MATCH", "tight:1") == b"tight:* quota=%d" % limit
    assert c.cmd("POLICY", "SET", "tight:*", "quota=10kb") == "OK"
    until("a lower bound, without a write", lambda: counts(c, "tight:*")["quota_bytes"] <= 10240)
    left = counts(c, "tight:*")["quota_keys"]
    keys = [k for k in c.cmd("KEYS", "tight:*")]
    assert len(keys) == left, (len(keys), left)
    c.cmd("SET", "tight:last", "x")
    assert counts(c, "tight:*")["quota_keys"] > 0  # so that none is a change
    assert c.cmd("POLICY", "SET", "tight:*", "ttl=1h") == "OK"  # no quota any more
    until("nothing is counted", lambda: counts(c, "tight:*")["quota_keys"] == 0)
    pipelined(c, [("SET", "tight:%d" % i, "x" * 100) for i in range(2000)])
    assert all(c.cmd("EXISTS", "tight:%d" % i) for i in range(2000))
    c.cmd("POLICY", "DEL", "tight:*")
    c.cmd("FLUSHALL")


def a_quota_counts_in_transactions_and_by_every_way_to_write(s):
    c = s.conn()
    c.cmd("POLICY", "SET", "w:*", "quota=100kb")
    in_force(c, "w:*")
    for round in range(40):
        c.cmd("MULTI")
        for i in range(20):
            c.cmd("SET", "w:%d:%d" % (round, i), "v" * 500)
        c.cmd("POLICY", "SET", "w:*", "quota=100kb", "ttl=%ds" % (1000 + round))  # with the shards locked
        assert all(not isinstance(r, Error) for r in c.cmd("EXEC"))
        c.cmd("MSET", *[w for i in range(20) for w in ("w:m%d:%d" % (round, i), "v" * 500)])
        c.cmd("APPEND", "w:long", "v" * 2000)
        c.cmd("RENAME", "w:m%d:1" % round, "w:renamed%d" % round)
        c.cmd("RENAME", "w:m%d:2" % round, "elsewhere%d" % round)
        c.cmd("COPY", "w:m%d:3" % round, "w:copied%d" % round)
        c.cmd("SETRANGE", "w:bits", 3000 * round, "x")
    until("the bound holds", lambda: counts(c, "w:*")["quota_bytes"] <= 102400)
    now = counts(c, "w:*")
    keys = c.cmd("KEYS", "w:*")
    assert len(keys) == now["quota_keys"], (len(keys), now)
    usage = sum(c.cmd("MEMORY", "USAGE", k) - 8 for k in keys)  # without the table's share
    assert usage == now["quota_bytes"], (usage, now)
    c.cmd("DEL", *keys)
    now = counts(c, "w:*")
    assert now["quota_bytes"] == 0 and now["quota_keys"] == 0, now
    c.cmd("POLICY", "DEL", "w:*")
    c.cmd("FLUSHALL")


def quotas_hold_while_many_write(s):
    c = s.conn()
    for name in "abcd":
        c.cmd("POLICY", "SET", "many:%s:*" % name, "quota=200kb")
    in_force(c, "many:d:*")
    wrong = []

    def write(seed):
        mine, rng = s.conn(), random.Random(seed)
        for _ in range(40):
            calls = []
            for _ in range(50):
                key = "many:%s:%d" % (rng.choice("abcd"), rng.randrange(400))
                calls.append(rng.choice([("SET", key, "x" * rng.randrange(3000)), ("DEL", key), ("SET", key, "y", "PX", 20), ("GET", key)]))
            try:
                pipelined(mine, calls)
            except AssertionError as e:
                wrong.append(e)
    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for i in range(20):  # policies come and go meanwhile
        c.cmd("POLICY", "SET", "many:a:*", "quota=%dkb" % (100 + 100 * (i % 2)))
        time.sleep(0.05)
    for t in threads:
        t.join()
    assert not wrong, wrong[0]
    c.cmd("POLICY", "SET", "many:a:*", "quota=200kb")
    for name in "abcd":
        until("the bound holds", lambda: counts(c, "many:%s:*" % name)["quota_bytes"] <= 204800)
    c.cmd("FLUSHALL")
    for name in "abcd":
        until("nothing is left", lambda: counts(c, "many:%s:*" % name)["quota_bytes"] == 0)
        c.cmd("POLICY", "DEL", "many:%s:*" % name)


def too_many_quotas_are_refused(s):
    c = s.conn()
    for i in range(15):
        assert c.cmd("POLICY", "SET", "q%d:*" % i, "quota=1mb") == "OK"
    reply = c.cmd("POLICY", "SET", "q15:*", "quota=1mb")
    assert reply == Error("ERR 16 policies have a quota; allowed: quota=SIZE in at most 15 of them"), reply
    for i in range(15):
        c.cmd("POLICY", "DEL", "q%d:*" % i)


def what_a_quota_evicts_stays_on_disk():
    s = server.strata("--l2", "on", "--l2-thrash-guard", "off", "--policy", "q:* quota=200kb", "--threads", "2")
    c = s.conn()
    in_force(c, "q:*")
    pipelined(c, [("SET", "q:%d" % i, "%d" % i * 100) for i in range(3000)])
    now = counts(c, "q:*")
    assert now["quota_evicted"] > 1000, now
    assert now["demoted"] == now["evicted"] > 1000, now
    assert all(c.cmd("GET", "q:%d" % i) == b"%d" % i * 100 for i in range(3000))
    until("what comes back counts, too", lambda: 0 < counts(c, "q:*")["quota_bytes"] <= 204800)
    wrong = s.stop()
    assert wrong is None, wrong


def what_leaves_memory_is_counted_by_policy():
    s = server.strata("--maxmemory", "30mb", "--policy", "p:* ttl=1h", "--threads", "2")
    c = s.conn()
    for i in range(0, 60000, 5000):
        pipelined(c, [("SET", "p:%d" % k, "x" * 1000) for k in range(i, i + 5000)])
    until("there was no room", lambda: counts(c, "p:*")["evicted"] > 1000)
    until("all were of the policy", lambda: counts(c, "p:*")["evicted"] == int(info(c, "stats")["evicted_keys"]))
    assert counts(c, "p:*")["demoted"] == counts(c, "p:*")["expired"] == 0
    c.cmd("FLUSHALL")
    assert c.cmd("SET", "p:brief", "x", "PX", "1") == "OK" and c.cmd("SET", "other", "x", "PX", "1") == "OK"
    until("it is over", lambda: counts(c, "p:*")["expired"] == 1)
    until("both are", lambda: info(c, "stats")["expired_keys"] == "2")
    assert counts(c, "p:*")["expired"] == 1
    wrong = s.stop()
    assert wrong is None, wrong


def text(rng, n):
    words = [b"alpha", b"beta", b"gamma", b"delta", b"epsilon", b"zeta", b"eta", b"theta"]
    return b" ".join(rng.choice(words) for _ in range(n // 5))[:n]


def values_are_compressed_on_disk_as_their_policy_says():
    rng = random.Random(3)
    s = server.strata("--l2", "on", "--l2-thrash-guard", "off", "--l2-compression", "none", "--threads", "2", "--policy", "lz4:* compress=lz4",
                      "--policy", "zstd:* compress=zstd", "--policy", "plain:* ttl=1h", "--policy", "off:* compress=zstd tier=l1", "--enable-debug-command", "yes")
    c = s.conn()
    values = {}
    for kind in ("lz4", "zstd", "plain", "off"):
        for i in range(300):
            values["%s:%d" % (kind, i)] = text(rng, rng.choice((10, 300, 3000)))
        values[kind + ":large"] = text(rng, 1000000)  # more than an event loop decompresses
        values[kind + ":noise"] = rng.randbytes(3000)
        values[kind + ":empty"] = b""
    pipelined(c, [("SET", k, v) for k, v in values.items()])
    for kind in ("lz4", "zstd"):
        c.cmd("HSET", kind + ":hash", *[w for i in range(200) for w in ("field:%d" % i, text(rng, 50))])
    hashes = {k: c.cmd("HGETALL", k) for k in ("lz4:hash", "zstd:hash")}

    def down():
        assert c.cmd("DEBUG", "EVICT") >= 0
        until("the queue is empty", lambda: int(info(c, "tiers")["l2_queue_bytes"]) == 0)
    down()
    now = info(c, "tiers")
    assert int(now["l2_packed"]) > 400, now["l2_packed"]
    assert int(now["l2_packed_to_bytes"]) < int(now["l2_packed_from_bytes"]) * 0.7, now
    of = {kind: counters(c, kind + ":*") for kind in ("lz4", "zstd", "plain")}
    assert of["lz4"]["packed"] + of["zstd"]["packed"] == int(now["l2_packed"]) and of["plain"]["packed"] == 0, of
    assert of["lz4"]["packed_saved"] + of["zstd"]["packed_saved"] == int(now["l2_packed_from_bytes"]) - int(now["l2_packed_to_bytes"]), of
    for probing in (1, 0):  # from RocksDB's memory on the loop, and by a thread
        assert c.cmd("DEBUG", "PROBE", probing) == "OK"
        for k, v in values.items():
            want = None if k.startswith("off:") else v
            assert c.cmd("GET", k) == want, k
        for k, v in hashes.items():
            assert c.cmd("HGETALL", k) == v, k
        down()
    packed = int(info(c, "tiers")["l2_packed"])
    for kind in ("lz4", "zstd", "plain"):  # what is on disk stays readable, whatever policies say later
        c.cmd("POLICY", "DEL", kind + ":*")
    pipelined(c, [("APPEND", k, "!") for k in values if not k.startswith("off:")])
    down()
    assert int(info(c, "tiers")["l2_packed"]) == packed, "no policy, nothing compressed"
    wrong = s.stop()
    assert wrong is None, wrong


def compressed_values_outlive_a_restart():
    with tempfile.TemporaryDirectory() as dir:
        rng, values = random.Random(4), {}
        for round in range(3):
            s = server.strata("--l2", "on", "--dir", dir, "--policy", "* compress=%s" % ("lz4", "zstd", "none")[round], "--threads", "2")
            c = s.conn()
            assert all(c.cmd("GET", k) == v for k, v in values.items()), round
            for i in range(200):
                values["%d:%d" % (round, i)] = text(rng, 2000)
            pipelined(c, [("SET", k, v) for k, v in values.items()])
            wrong = s.stop()
            assert wrong is None, wrong


EVERY = (a_quota_bounds_its_pattern_and_spares_the_others, a_quota_counts_in_transactions_and_by_every_way_to_write, quotas_hold_while_many_write,
         too_many_quotas_are_refused)
ALONE = (what_a_quota_evicts_stays_on_disk, what_leaves_memory_is_counted_by_policy, values_are_compressed_on_disk_as_their_policy_says, compressed_values_outlive_a_restart)
