"""Nodes whose wall clocks differ by minutes (tests/support/clock_shim.c): what is relative stays so, whatever path it takes."""
import os
import subprocess
import tempfile
import time

import server
from nodes import Cluster, info, until
from near import count

SHIM = os.path.join(server.ROOT, "tests", "support", "clock_shim.c")
OFFSETS_MS = [0, 300000, -300000]
PATIENT = ["--threads", 2, "--near-ttl", "1h", "--cluster-call-timeout", "10s", "--cluster-node-timeout", "20s"]


def build_shim(folder):
    p = subprocess.run(["cc", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", folder + "/clock.so", SHIM, "-ldl"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return folder + "/clock.so"


def shifted(shim, ms):
    return {"LD_PRELOAD": shim, "STRATA_CLOCK_OFFSET_MS": str(ms)}


def with_clocks(offsets, *directives):
    """A test of (cluster, shim); the release binary, since the sanitizers want to be loaded first."""

    def wrap(fn):
        def test():
            with tempfile.TemporaryDirectory(prefix="strata-clock-") as folder:
                shim = build_shim(folder)
                cl = Cluster(len(offsets), *directives, binary=server.RELEASE, env=lambda i: shifted(shim, offsets[i]))
                try:
                    fn(cl, shim)
                finally:
                    wrong = cl.stop()
                assert wrong is None, wrong

        test.__name__ = fn.__name__
        return test

    return wrap


def wall_ms(c):
    seconds, us = c.cmd("TIME")
    return int(seconds) * 1000 + int(us) // 1000


@with_clocks(OFFSETS_MS, *PATIENT)
def no_life_is_longer_for_a_clock(cl, shim):
    cs = [n.conn() for n in cl]
    for c, offset in zip(cs, OFFSETS_MS):
        assert abs(wall_ms(c) - wall_ms(cs[0]) - offset) < 20000, (offset, wall_ms(c))
    keys, ends = {}, {}
    for owner in range(3):
        for via in range(3):
            k = keys[owner, via] = cl.key_of(owner, "life%d" % via)
            assert cs[via].cmd("SET", k, "v", "PX", 3000) == "OK"
            ends[owner, via] = time.monotonic() + 3.0
            assert all(0 < c.cmd("PTTL", k) <= 3000 for c in cs)
    before = sum(count(c, "near_hits") for c in cs)
    left = {(at, i) for at in keys for i in range(3)}
    while left:
        for at, i in list(left):
            now = time.monotonic()
            if cs[i].cmd("GET", keys[at]) is None:
                assert time.monotonic() >= ends[at] - 3.0 and now > ends[at] - 1.0, ("too soon", at, i, ends[at] - now)
                left.remove((at, i))
            else:
                assert now < ends[at] + 0.01, ("too late", at, i, now - ends[at])  # asked after the end
    assert sum(count(c, "near_hits") for c in cs) > before  # copies, too


@with_clocks(OFFSETS_MS, *PATIENT)
def a_deadline_by_the_clock_is_by_the_owners(cl, shim):
    cs = [n.conn() for n in cl]
    for owner in range(3):
        k = cl.key_of(owner, "at")
        at = wall_ms(cs[owner]) + 100000
        for c in cs:
            assert c.cmd("SET", k, "v", "PXAT", at) == "OK" and c.cmd("PEXPIRETIME", k) == at
            assert 50000 < c.cmd("PTTL", k) <= 100000


@with_clocks([0, -300000], *PATIENT, "--handover-window", "10m")
def a_key_that_moves_keeps_what_is_left_of_its_life(cl, shim):
    c = cl[0].conn()
    keys = ["moves:%d" % i for i in range(100)]
    for k in keys:
        assert c.cmd("SET", k, "v", "PX", 100000) == "OK"
    cl.env = lambda i: shifted(shim, 600000)
    cl.nodes.append(cl.make(server.free_port(), server.free_port()))
    cl.settle()
    lives = [c.cmd("PTTL", k) for k in keys]
    assert all(50000 < ms <= 100000 for ms in lives), lives
    assert int(info(cl[2].conn(), "peers")["peer_handover_found"]) > 0


@with_clocks([0, 0, 0], *PATIENT[:4], "--cluster-call-timeout", "2s", "--cluster-node-timeout", "2s")
def a_node_is_back_with_its_clock_set_back(cl, shim):
    """It begins with a smaller number than the others remember of it: it hears so, and outbids that."""
    cl[2].kill()
    until("it is passed over", lambda: cl[2].port not in set(cl.owners(0)) | set(cl.owners(1)))
    cl[2].env.update(shifted(shim, -3600000))
    assert cl[2].start_on(cl[2].wanted)
    cl.settle()
    assert cl[0].conn().cmd("SET", cl.key_of(2, "back"), "v") == "OK"


ALL = [no_life_is_longer_for_a_clock, a_deadline_by_the_clock_is_by_the_owners, a_key_that_moves_keeps_what_is_left_of_its_life,
       a_node_is_back_with_its_clock_set_back]
