"""Section 2: operations per CPU second, in interleaved pairs with server and generator on one core."""
import os
import time

import measure
import servers

MAX_STEAL = 0.10
TICK = os.sysconf("SC_CLK_TCK")


class Half:
    """One server's turn of a pair."""

    def __init__(self, server, core, seconds, options):
        cpu, steal, start = measure.cpu_ns(server), measure.steal_ticks([core]), time.monotonic()
        result = measure.load(server, [core], seconds=seconds, **options)
        elapsed = time.monotonic() - start
        self.cpu = measure.cpu_ns(server) - cpu
        self.steal = (measure.steal_ticks([core]) - steal) / TICK / elapsed
        if result["errors"] or result["nulls"]:
            raise SystemExit("%s: %d errors, %d misses: %s" % (server.kind.name, result["errors"], result["nulls"], result["first_error"]))
        self.ops = result["ops"]
        self.us = self.cpu / 1000 / result["requests"]
        self.p99 = result["latency_us"]["p99"]
        self.p999 = result["latency_us"]["p99.9"]


def pairs(ours, peer, core, count, seconds, options):
    """Kept pairs and how many were discarded because the machine was taken away during one half."""
    kept, discarded = [], 0
    for server in (ours, peer):
        Half(server, core, min(1, seconds), options)
    for i in range(count):
        order = (ours, peer) if i % 2 == 0 else (peer, ours)
        half = {server: Half(server, core, seconds, options) for server in order}
        if max(h.steal for h in half.values()) > MAX_STEAL:
            discarded += 1
        else:
            kept.append((half[ours], half[peer]))
    return kept, discarded


def row(label, kept, discarded):
    if not kept:
        return [label] + [None] * 8 + ["0/%d" % discarded, "too noisy"]
    low, middle, high = measure.quartiles([b.us / a.us for a, b in kept])
    claim = "faster" if low > 1 else "slower" if high < 1 else "no claim"
    mid = [measure.quartiles([getattr(h[side], field) for h in kept])[1] for side in (0, 1) for field in ("ops", "us", "p99")]
    return [label, mid[0] / 1000, mid[1], mid[2], mid[3] / 1000, mid[4], mid[5], middle, "%.2f-%.2f" % (low, high),
            "%d/%d" % (len(kept), len(kept) + discarded), claim]


def compare(report, title, kinds, peer, keys, cases, count, seconds, notes):
    core = measure.cores()[0]
    rows = []
    ours = next(iter(kinds))
    with servers.Server(kinds[ours], cores=[core]) as a, servers.Server(kinds[peer], cores=[core]) as b:
        for server in (a, b):
            measure.preload(server, keys=keys)
        for label, options in cases:
            rows.append(row(label, *pairs(a, b, core, count, seconds, dict(options, keys=keys, connections=50))))
    head = ["", ours + " kop/s", "CPU us/op", "p99 us", peer + " kop/s", "CPU us/op", "p99 us", "ratio", "quartiles", "pairs", ""]
    report.section(title, head, rows, notes)


def section(report, kinds, quick):
    count, seconds = (5, 1.5) if quick else (11, 5)
    notes = ["ratio: operations per CPU second of the server over the peer's, median of the pairs; 50 connections, 100 B values; server and "
             "generator on one core; A B B A order; a pair is discarded when steal exceeds 10%% of the core; %d pairs of 2 x %g s" %
             (count, seconds)]
    cases = [("%s, pipeline %d" % (name, p), {"pipeline": p, "reads": reads})
             for name, reads in (("GET", 100), ("SET", 0)) for p in (1, 10, 64)]
    for peer in list(kinds)[1:]:
        compare(report, "2. Throughput against %s, 10,000 keys" % peer, kinds, peer, 10000, cases, count, seconds, notes)
        if not quick:
            big = [("GET, pipeline 16", {"pipeline": 16})]
            compare(report, "2. Throughput against %s, 5 million keys" % peer, kinds, peer, 5000000, big, count, seconds, notes)
