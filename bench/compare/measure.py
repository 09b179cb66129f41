"""What is read from the kernel and from the generator."""
import glob
import json
import os
import statistics
import subprocess
import time

import servers


def load(server, cores=None, **options):
    """Runs strata-load to its end and returns its result."""
    return json.loads(finish(load_start(server, cores, **options)))


def load_start(server, cores=None, first=False, **options):
    argv = [servers.LOAD, "--json", "--target", "127.0.0.1:%d" % server.port]
    for name, value in options.items():
        argv += ["--" + name.replace("_", "-"), str(value)]
    argv = servers.FIRST + argv if first else argv
    return subprocess.Popen(servers.tied(servers.pinned(cores, argv)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    try:
        out, err = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise SystemExit(err.strip() or "the generator failed")
    return out


def preload(server, cores=None, keys=10000, value_size=100, key_size=16, **options):
    """Sets every key of the range once; says so when the server did not take them all."""
    result = load(server, cores, pattern="sequence", keys=keys, requests=keys, reads=0, value_size=value_size, key_size=key_size,
                  pipeline=32, connections=4, **options)
    if result["errors"]:
        raise SystemExit("%s refused %d of %d keys: %s" % (server.kind.name, result["errors"], keys, result["first_error"]))
    return result


def cpu_ns(server):
    """CPU time of the server in nanoseconds: of all threads, those that have ended, too."""
    return time.clock_gettime_ns(~server.pid << 3 | 2)  # what clock_getcpuclockid gives: the clock of another process


def status_sum(server, field):
    """A number of /proc/PID/task/*/status summed over the threads."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/status" % server.pid):
        with open(path) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith(field + ":"))
    return total


def rss(server):
    """Resident bytes of the server."""
    with open("/proc/%d/status" % server.pid) as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))


def steal_ticks(cores):
    """Clock ticks that the hypervisor took from these cores."""
    names = {"cpu%d" % c for c in cores}
    with open("/proc/stat") as f:
        return sum(int(line.split()[8]) for line in f if line.split()[0] in names)


def steal_percent(ticks, seconds):
    """What it has taken in so many seconds from the cores in use, since it was at so many ticks; in percent of one core."""
    return 100 * (steal_ticks(cores()) - ticks) / os.sysconf("SC_CLK_TCK") / seconds


def cores():
    return sorted(os.sched_getaffinity(0))


def quartiles(values):
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return (values[0],) * 3 if values else (float("nan"),) * 3
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[1], q[2]
