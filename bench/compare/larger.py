"""Section 3: four times more keys than memory holds, the server in a memory cgroup so that the page cache counts."""
import os
import time

import measure
import servers

GROUP = "/sys/fs/cgroup/memory/strata-bench"  # version 1
GROUP2 = "/sys/fs/cgroup/strata-bench"        # version 2
VALUE = 1000
# KeyDB FLASH and memcached with extstore in such a run, as their own figures: see docs/l2.md
KEYDB_OPS, KEYDB_CPU_US, KEYDB_P99_MS = 2600, 244, 52
HOT = dict(pattern="uniform", keys=1000, reads=100, value_size=VALUE, connections=10, rate=2000, warmup=0.3)  # keys that stay in memory


def memory_group(limit):
    """The directory of a cgroup with that limit, or None where none can be made."""
    for directory, name in ((GROUP, "memory.limit_in_bytes"), (GROUP2, "memory.max")):
        try:
            os.makedirs(directory, exist_ok=True)
            with open(os.path.join(directory, name), "w") as f:
                f.write(str(limit))
            return directory
        except OSError:
            pass
    return None


def tiers(server):
    client = server.client()
    info = dict(line.split(":", 1) for line in client.call("INFO", "tiers").decode().split("\r\n") if ":" in line)
    client.close()
    return {k: int(v) for k, v in info.items() if v.isdigit()}


def written(server):
    with open("/proc/%d/io" % server.pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("write_bytes"))


def settle(server):
    while tiers(server)["l2_queue_bytes"] > 0:
        time.sleep(0.1)


def fill(server, keys, rate):
    measure.load(server, pattern="sequence", keys=keys, requests=keys, reads=0, value_size=VALUE, connections=4, pipeline=4, rate=rate)
    settle(server)


def reads(server, keys, seconds, **options):
    """Reads and what they cost: the generator's result, CPU seconds, and the change of INFO's numbers."""
    before, cpu = tiers(server), measure.cpu_ns(server)
    got = measure.load(server, keys=keys, reads=100, value_size=VALUE, seconds=seconds, **options)
    after = tiers(server)
    return got, (measure.cpu_ns(server) - cpu) / 1e9, {k: after[k] - before.get(k, 0) for k in after}


def cold(d):
    return d["l2_hits_queue"] + d["l2_hits_memory"] + d["l2_hits_disk"]


def measured(server, keys, seconds):
    rows = []
    hot, cpu, _ = reads(server, 1000, 2, pattern="uniform", connections=50)
    hot_us = cpu * 1e6 / hot["requests"]
    got, cpu, d = reads(server, keys, seconds, pattern="gaussian", connections=50)
    hits, cold_hits = got["requests"] - got["nulls"], max(1, cold(d))
    rows.append(["operations per second, gaussian reads", got["ops"], KEYDB_OPS])
    rows.append(["hit rate", hits / got["requests"], 1.0])
    rows.append(["answered by memory, share", (hits - cold_hits) / got["requests"], ""])
    rows.append(["reads of the device per second", d["l2_hits_disk"] / got["seconds"], ""])
    rows.append(["p50, ms", got["latency_us"]["p50"] / 1e3, ""])
    rows.append(["p99, ms", got["latency_us"]["p99"] / 1e3, KEYDB_P99_MS])
    rows.append(["CPU per operation, us", cpu * 1e6 / got["requests"], KEYDB_CPU_US])
    rows.append(["CPU per cold hit, us", (cpu * 1e6 - (got["requests"] - cold_hits) * hot_us) / cold_hits, ""])
    absent, cpu, d = reads(server, keys, 3, pattern="uniform", connections=50, key_size=24)
    rows.append(["key nowhere: CPU, us", cpu * 1e6 / absent["requests"], ""])
    rows.append(["key nowhere: reads of the device", d["l2_misses_disk"] / absent["requests"], ""])
    return rows


def beside_cold(server, keys, rounds, seconds):
    """p99 of keys in memory, alone and while others read cold keys as fast as the disk gives them, in turns."""
    alone, beside = [], []
    measure.load(server, seconds=1, **HOT)
    for _ in range(rounds):
        alone.append(measure.load(server, seconds=seconds, **HOT)["latency_us"]["p99"])
        others = measure.load_start(server, pattern="uniform", keys=keys, reads=100, value_size=VALUE, connections=50, seconds=seconds + 2)
        beside.append(measure.load(server, seconds=seconds, **HOT)["latency_us"]["p99"])
        measure.finish(others)
    low, middle, high = measure.quartiles([b / a for a, b in zip(alone, beside)])
    return [["keys in memory, alone: p99, ms", measure.quartiles(alone)[1] / 1e3, ""],
            ["keys in memory, beside cold reads: p99, ms", measure.quartiles(beside)[1] / 1e3, ""],
            ["that, as a multiple: median, quartiles", "%.2f, %.2f-%.2f" % (middle, low, high), ""]]


def longest_turn(server):
    """Of any event loop since it started, in ms; what it waited for a core is in it."""
    client = server.client()
    text = client.call("INFO", "health").decode()
    client.close()
    return max(int(line.split("lag_most_us=")[1]) for line in text.split("\r\n") if "lag_most_us=" in line) / 1e3


def section(report, kinds, quick):
    limit, keys, seconds, rate = (96, 280000, 5, 20000) if quick else (256, 740000, 15, 20000)
    group = memory_group(2 * limit << 20)
    enter = ["sh", "-c", "echo $$ >%s/cgroup.procs; exec \"$@\"" % group, "sh"] if group else []
    kind = servers.with_disk(kinds["strata"])
    with servers.Server(kind, maxmemory=limit << 20, wrap=enter) as server:
        begin = written(server)
        fill(server, keys, rate)
        info = tiers(server)
        rows = [["keys in all tiers / in memory", "%d / %d" % (info["l2_keys"], info["l1_keys"]), ""],
                ["index and filters in memory per cold key, bytes", info["l2_index_bytes"] / max(1, info["l2_keys"]), ""]]
        rows += measured(server, keys, seconds)
        rows += beside_cold(server, keys, 3 if quick else 9, 2 if quick else 5)
        flood = measure.load(server, pattern="sequence", keys=keys, reads=0, value_size=VALUE, connections=10, pipeline=4, seconds=seconds)
        settle(server)
        taken = tiers(server)
        rows.append(["set-only past the limit: errors", flood["errors"], ""])
        rows.append(["set-only past the limit: operations per second", flood["ops"], ""])
        rows.append(["set-only past the limit: longest wait, ms", flood["latency_us"]["max"] / 1e3, ""])
        rows.append(["longest turn of an event loop, ms", longest_turn(server), ""])
        rows.append(["written to the device per byte accepted", (written(server) - begin) / max(1, taken["l2_bytes_in"]), ""])
        rows.append(["serving again after kill -9, s", server.crash(), ""])
        rows.append(["keys on disk then", tiers(server)["l2_keys"], ""])
    report.section("3. Larger than memory", ["", "strata", "KeyDB FLASH"], rows, [
        "maxmemory %d MB, %s; %d keys of 16 B with %d B values, filled at %d a second; 50 connections, no pipeline; "
        "beside cold reads: 2,000 GETs a second on 10 connections, latency from when each was due" %
        (limit, "a memory cgroup of twice that" if group else "no cgroup could be made: the page cache helps", keys, VALUE, rate),
        "KeyDB FLASH's column: another machine's run of 500,000 such keys, 200 MB of memory in a cgroup of 400 MB"])
