"""Section 4: resident bytes per key beside key and value, and what an idle server costs."""
import concurrent.futures
import time

import measure
import servers

KEY = 20
DECAY_SECONDS = 12  # jemalloc gives unused pages back over ten seconds
AT_ONCE = 4         # a million keys of 1,000 B take 1.2 GB


def overhead(kind, keys, value, ttl):
    with servers.Server(kind) as server:
        time.sleep(0.5)
        empty = measure.rss(server)
        options = {"ttl_ms": "3600000:7200000"} if ttl else {}
        measure.preload(server, keys=keys, key_size=KEY, value_size=value, **options)
        time.sleep(DECAY_SECONDS)
        return (measure.rss(server) - empty) / keys - KEY - value


def idle(kind, seconds):
    """RSS in MB and wake-ups per second of a server nobody talks to."""
    with servers.Server(kind) as server:
        time.sleep(1)
        size = measure.rss(server)
        before = measure.status_sum(server, "voluntary_ctxt_switches")
        time.sleep(seconds)
        return size / 1e6, (measure.status_sum(server, "voluntary_ctxt_switches") - before) / seconds


def section(report, kinds, quick):
    keys = 1000000
    cells = [(ttl, value) for ttl in (False, True) for value in (32, 100, 1000)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            jobs = {(cell, name): pool.submit(overhead, kind, keys, cell[1], cell[0]) for cell in cells for name, kind in kinds.items()}
            rows = [["%d B values, %s" % (value, "TTL" if ttl else "no TTL")] + [jobs[(ttl, value), name].result() for name in kinds]
                    for ttl, value in cells]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    report.section("4. Memory per key, bytes", [""] + list(kinds), rows,
                   ["RSS above the empty server, per key, minus key and value; %d keys of %d B, %d s after loading" % (keys, KEY, DECAY_SECONDS)])
    quiet = [idle(kind, 3 if quick else 10) for kind in kinds.values()]
    report.section("4. Idle server", [""] + list(kinds), [["RSS, MB"] + [q[0] for q in quiet], ["wake-ups per second"] + [q[1] for q in quiet]],
                   ["wake-ups: voluntary context switches of all threads; 1 thread configured"])
