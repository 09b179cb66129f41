"""Section 5: recorded traces through the servers over RESP; also the parts that bench/replay uses."""
import json
import os
import subprocess
import sys

import measure
import servers

KEY = 16
REDIS_OVERHEAD = 84  # bytes per key of redis 7.0 besides key and value, measured by section 4


def trace_run(path, running, **options):
    """strata-load --replay over the running servers in turns; with none it only describes the trace."""
    argv = [servers.LOAD, "--json", "--replay", path] + (["--info"] if not running else [])
    for server in running:
        argv += ["--target", "127.0.0.1:%d" % server.port]
    for name, value in options.items():
        if value is not None:
            argv += ["--" + name.replace("_", "-"), str(value)]
    process = subprocess.Popen(servers.tied(argv), stdout=subprocess.PIPE, stderr=sys.stderr if sys.stderr.isatty() else subprocess.PIPE, text=True)
    try:
        out, err = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise SystemExit((err or "").strip() or "the replay failed")
    return json.loads(out)


def used(server):
    client = server.client()
    info, keys = client.info(), client.call("DBSIZE")
    client.close()
    return int(info.get("used_memory", 0)), keys


class Fleet:
    """The servers of one replay, each with its limit; use it in a with statement."""

    def __init__(self, kinds, limit, policies=None):
        self.kinds, self.limit, self.policies, self.running = kinds, limit, policies or {}, []

    def __enter__(self):
        try:
            for name, kind in self.kinds.items():
                empty = 0
                if callable(self.limit):
                    with servers.Server(kind) as probe:
                        empty = used(probe)[0]
                maxmemory = self.limit(empty) if callable(self.limit) else self.limit
                server = servers.Server(kind, maxmemory=maxmemory, policy=self.policies.get(name))
                self.running.append(server.__enter__())
                server.empty_used, server.empty_rss = used(server)[0], measure.rss(server)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.running:
            server.stop()


def budget(info, share):
    """Bytes above an empty server in which redis holds about that share of the working set."""
    return int(share * (info["value_bytes"] + info["keys"] * (KEY + REDIS_OVERHEAD)))


def rows_of(fleet, result):
    out = []
    for server, got in zip(fleet.running, result["targets"]):
        now, keys = used(server)
        latency = got["latency_us"]
        if got["errors"]:
            print("%s: %d errors: %s" % (server.kind.name, got["errors"], got["first_error"]), file=sys.stderr)
        out.append([server.kind.name, got["hits"] / result["requests"], got["misses"] / result["requests"], got["ops"], latency["p50"],
                    latency["p90"], latency["p99"], latency["p99.9"], now / 1e6, measure.rss(server) / 1e6,
                    (measure.rss(server) - server.empty_rss) / 1e6, keys])
    return out


HEAD = ["", "hit rate", "miss ratio", "records/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "used MB", "RSS MB", "above empty", "keys held"]
GREW = HEAD.index("above empty")


def section(report, kinds, quick, directory):
    if not directory:
        return
    names = sorted(n for n in os.listdir(directory) if n.endswith((".bin.gz", ".bin")))
    for name in names:
        path = os.path.join(directory, name)
        for value_size in (None, 32):
            info = trace_run(path, [], value_size=value_size)
            if value_size and info["value_bytes"] != value_size * info["keys"]:
                continue  # this trace has sizes of its own
            for share in (0.1,) if quick else (0.1, 0.01):
                replay_section(report, kinds, quick, name, path, info, share, value_size)


def equal_rss(kinds, rows, path, room, how):
    """Our row again with the limit moved until RSS above empty is the peer's; nothing when it never comes near."""
    ours, want, scale = list(kinds)[0], rows[1][GREW], 1.0
    got = rows[0]
    for _ in range(3):
        if not 0.95 < got[GREW] / want < 1.05:
            scale *= min(4, max(0.25, want / max(got[GREW], 0.01)))
            with Fleet({ours: kinds[ours]}, lambda empty: empty + int(room * scale)) as fleet:
                got = rows_of(fleet, trace_run(path, fleet.running, **how))[0]
    return [[ours + ", RSS as " + rows[1][0]] + got[1:]]


def replay_section(report, kinds, quick, name, path, info, share, value_size):
    room = budget(info, share)
    with Fleet(kinds, lambda empty: empty + room) as fleet:
        how = dict(value_size=value_size, connections=1, rate=None if quick else 100000, requests=1000000 if quick else None)
        result = trace_run(path, fleet.running, **how)
        rows = rows_of(fleet, result)
    rows += equal_rss(kinds, rows, path, room, how)
    report.section("5. Replay of %s, room for %g%%%s" % (name.split(".")[0], share * 100, ", 32 B values" if value_size else ""), HEAD, rows, [
        "each server may use %.2f MB above its own empty state, in which redis holds about %g%% of %d keys; 16 B keys" %
        (room / 1e6, share * 100, info["keys"]),
        "GET, then SET on a miss; compulsory misses count; latencies of both; %d records%s" %
        (result["requests"], "" if quick else ", at most 100,000 per second"),
        "RSS as redis: the limit moved, in at most three steps, until RSS above empty is the peer's within 5%; see the column",
        "redis's clock of last use ticks once a second: the faster the replay, the less it knows of recency"])
