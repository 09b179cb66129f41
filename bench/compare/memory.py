"""Section 4: resident bytes per key beside key and value, and what an idle server costs."""
import time

import measure
import servers

KEY = 20


def settled(server):
    """RSS once it has stopped moving, at most three seconds."""
    last = measure.rss(server)
    for _ in range(30):
        time.sleep(0.1)
        now = measure.rss(server)
        if abs(now - last) < 65536:
            return now
        last = now
    return last


def overhead(kind, keys, value, ttl):
    with servers.Server(kind) as server:
        empty = settled(server)
        options = {"ttl_ms": "3600000:7200000"} if ttl else {}
        measure.preload(server, keys=keys, key_size=KEY, value_size=value, **options)
        return (settled(server) - empty) / keys - KEY - value


def idle(kind, seconds):
    """RSS in MB and wake-ups per second of a server nobody talks to."""
    with servers.Server(kind) as server:
        size = settled(server)
        time.sleep(1)
        before = measure.status_sum(server, "voluntary_ctxt_switches")
        time.sleep(seconds)
        return size / 1e6, (measure.status_sum(server, "voluntary_ctxt_switches") - before) / seconds


def section(report, kinds, quick):
    keys = 1000000
    rows = []
    for ttl in (False, True):
        for value in (32, 100, 1000):
            label = "%d B values, %s" % (value, "TTL" if ttl else "no TTL")
            rows.append([label] + [overhead(kind, keys, value, ttl) for kind in kinds.values()])
    report.section("4. Memory per key, bytes", [""] + list(kinds), rows,
                   ["RSS above the empty server, per key, minus key and value; %d keys of %d B" % (keys, KEY)])
    quiet = [idle(kind, 3 if quick else 10) for kind in kinds.values()]
    report.section("4. Idle server", [""] + list(kinds), [["RSS, MB"] + [q[0] for q in quiet], ["wake-ups per second"] + [q[1] for q in quiet]],
                   ["wake-ups: voluntary context switches of all threads; 1 thread configured"])
