"""Section 2, tails: p99.9 of steady GETs while another client makes trouble."""
import os
import subprocess
import sys
import time

import measure
import servers

DISTURB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "disturb.py")
MOST_LATE = 0.5  # of a round's time
VICTIM = dict(keys=10000, value_size=1000, connections=10, rate=5000)


class Disturbance:
    """A program running beside the victim; use it in a with statement."""

    def __init__(self, start):
        self.start = start

    def __enter__(self):
        self.process = self.start()
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def script(case):
    def start(server, core):
        argv = servers.tied(servers.pinned([core], [sys.executable, DISTURB, case, str(server.port)]))
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return start


def expiry(server, core):
    """Keys that all run out within the measurement."""
    measure.preload(server, [core], keys=300000, key_size=20, ttl_ms=2000)
    return None


def eviction(server, core):
    """Writes at a fixed rate into a server that is full."""
    measure.preload(server, [core], keys=300000, key_size=20, value_size=500)
    return measure.load_start(server, [core], keys=5000000, key_size=20, value_size=500, reads=0, rate=40000, pipeline=8, connections=4,
                              seconds=3600)


CASES = [("undisturbed", lambda server, core: None, None), ("one slow reader", script("slow-reader"), None),
         ("slow reader, small values", script("slow-small"), None),
         ("16 MB pipelines", script("long-pipeline"), None), ("10 MB values", script("big-values"), None),
         ("300,000 keys expire", expiry, None), ("eviction at the limit", eviction, "100mb")]


def victim(kind, start, maxmemory, seconds):
    """p99.9 and longest in microseconds, and the share of the time that does not count; a fresh server each time."""
    cores = measure.cores()
    mine, other = cores[min(1, len(cores) - 1)], cores[min(2, len(cores) - 1)]
    options = dict(VICTIM, seconds=seconds, warmup=0.3)
    if servers.may_be_first():
        options.update(first=True, watch="%d,%d" % (cores[0], mine))
    with servers.Server(kind, cores=[cores[0]], maxmemory=maxmemory) as server:
        measure.preload(server, [mine], keys=VICTIM["keys"], value_size=VICTIM["value_size"])
        with Disturbance(lambda: start(server, other)) as trouble:
            result = measure.load(server, [mine], **options)
            if trouble.process is not None and trouble.process.poll() is not None:
                raise SystemExit("%s: the disturbing client ended early" % kind.name)
        late = result["windows_late"] / result["windows"] if "windows" in result else 0
        return result["latency_us"]["p99.9"], result["latency_us"]["max"], late


def rounds_of(kinds, start, maxmemory, rounds, seconds):
    """The victims of each kind, in rounds in which the machine ran most of the time; fewer when it does not."""
    got, tried = {name: [] for name in kinds}, 0
    while len(got[next(iter(kinds))]) < rounds and tried < 4 * rounds:
        order = list(kinds) if tried % 2 == 0 else reversed(list(kinds))
        one = {name: victim(kinds[name], start, maxmemory, seconds) for name in order}
        tried += 1
        if all(v[2] < MOST_LATE for v in one.values()):
            for name in kinds:
                got[name].append(one[name])
        time.sleep(0.1)
    return got, tried


def section(report, kinds, quick):
    rounds, seconds = (3, 1.5) if quick else (5, 5)
    rows = []
    for label, start, maxmemory in CASES:
        got, tried = rounds_of(kinds, start, maxmemory, rounds, seconds)
        if not got[next(iter(kinds))]:
            rows.append([label + ": the machine did not run"] + ["-"] * (2 * len(kinds) + 3 * (len(kinds) - 1)) + ["0/%d" % tried])
            continue
        ours, peers = list(kinds)[0], list(kinds)[1:]
        row = [label]
        for name in kinds:
            row += [measure.quartiles([g[0] for g in got[name]])[1], max(g[1] for g in got[name])]
        for peer in peers:
            low, middle, high = measure.quartiles([p[0] / o[0] for o, p in zip(got[ours], got[peer])])
            row += [middle, "%.2f-%.2f" % (low, high), "better" if low > 1 else "worse" if high < 1 else "no claim"]
        rows.append(row + ["%d/%d" % (len(got[ours]), tried)])
    head = [""] + [h for name in kinds for h in (name + " p99.9 us", "max us")]
    head += [h for peer in list(kinds)[1:] for h in (peer + " / " + list(kinds)[0], "quartiles", "")] + ["rounds"]
    report.section("2. Tails beside a disturbance", head, rows,
                   ["victim: 5,000 GETs/s of 1,000 B on 10 connections, latency from when each was due, so that waiting in line counts; server, "
                    "victim and disturbance on cores of their own as far as there are, the victim before the disturbance where they share one; "
                    "rounds of %g s, fresh servers" % seconds,
                    "where a thread that runs before all others on these cores may be had: 10 ms in which it woke more than a millisecond late, and "
                    "the 10 ms after, do not count (the hypervisor had the core), nor does a round of which that is more than %d%%; rounds: those "
                    "that count of those tried" % (100 * MOST_LATE)])
