"""redis-py: what its users do, over the unix socket and TCP. Arguments: socket, port."""
import os
import re
import sys

import redis


def fails(pattern, fn, *args):
    try:
        fn(*args)
    except redis.ResponseError as e:
        assert re.match(pattern, str(e)), e
    else:
        raise AssertionError("no error like " + pattern)


def values(r):
    assert r.set("k", "v", ex=100) and r.get("k") == b"v"
    assert 0 < r.ttl("k") <= 100
    assert r.set("k", "w", nx=True) is None and r.get("none") is None
    for key, value in (("binary", bytes(range(256)) * 3), ("large", os.urandom(5 << 20))):
        r.set(key, value)
        assert r.get(key) == value, key
    r.hset("h", mapping={"a": "1", "b": "two"})
    assert r.hgetall("h") == {b"a": b"1", b"b": b"two"}
    assert r.mget("k", "none") == [b"v", None]
    assert r.info()["role"] == "master" and r.config_get("maxmemory")


def batches(r):
    p = r.pipeline(transaction=False)
    for i in range(1000):
        p.set("p:%d" % i, i)
    assert p.execute() == [True] * 1000
    assert len(set(r.scan_iter(match="p:*", count=100))) == 1000
    assert r.pipeline().set("n", 1).incr("n").hget("h", "b").execute() == [True, 2, b"two"]


def conflict(r, other):
    with r.pipeline() as p:
        p.watch("n")
        other.set("n", 50)
        p.multi()
        try:
            p.set("n", 60).execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("no WatchError")
        p.watch("n")
        p.multi()
        assert p.incr("n").execute() == [51]


def errors(r):
    fails("value is not an integer", r.incr, "k")
    fails("WRONGTYPE", r.hget, "k", "f")
    fails("unknown command '?`?NOSUCH", r.execute_command, "NOSUCH", "x")
    got = r.pipeline(transaction=False).incr("k").get("k").execute(raise_on_error=False)
    assert isinstance(got[0], redis.ResponseError) and got[1] == b"v"


def reconnects(r, other):
    was = r.client_id()
    assert other.client_kill_filter(_id=str(was)) == 1
    assert r.get("k") == b"v" and r.client_id() != was


for where in ({"unix_socket_path": sys.argv[1]}, {"host": "127.0.0.1", "port": int(sys.argv[2])}):
    r, other = redis.Redis(client_name="app", **where), redis.Redis(**where)
    r.flushall()
    values(r)
    batches(r)
    conflict(r, other)
    errors(r)
    reconnects(r, other)
