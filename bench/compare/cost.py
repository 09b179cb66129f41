"""Section 1: user instructions and system calls per operation, as differences of two run lengths."""
import concurrent.futures
import subprocess

import measure
import servers

CALLGRIND = ["valgrind", "--tool=callgrind", "--callgrind-out-file={dir}/callgrind.out"]
STRACE = ["strace", "-f", "-c", "-o", "{dir}/strace.out"]


def benchmark(server, op, pipeline, requests):
    """redis-benchmark over 10,000 keys."""
    subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-n", str(requests), "-c", "10", "-P", str(pipeline),
                    "-d", "100", "-r", "10000", "-t", op, "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def drive(server, op, pipeline, requests):
    """All of the keys are there."""
    measure.preload(server)
    benchmark(server, op, pipeline, requests)


def instructions(path):
    with open(path) as f:
        for line in f:
            if line.startswith(("summary:", "totals:")):
                return int(line.split()[1])
    raise SystemExit("callgrind wrote no total")


def calls(path):
    """The calls column of the last row of strace -c."""
    with open(path) as f:
        for line in f:
            words = line.split()
            if words and words[-1] == "total":
                return int(words[3])
    raise SystemExit("strace wrote no total")


def one_run(kind, tool, op, pipeline, requests):
    with servers.Server(kind, wrap=CALLGRIND if tool == "callgrind" else STRACE) as server:
        drive(server, op, pipeline, requests)
        server.end(60)
        return instructions(server.path("callgrind.out")) if tool == "callgrind" else calls(server.path("strace.out"))


def per_op(pool, kind, tool, op, pipeline, requests):
    """A function that waits for the two runs and gives their difference per request."""
    runs = [pool.submit(one_run, kind, tool, op, pipeline, requests * times) for times in (1, 3)]
    return lambda: (runs[1].result() - runs[0].result()) / (2 * requests)


def section(report, kinds, quick):
    requests = {"callgrind": 5000 if quick else 20000, "strace": 5000 if quick else 20000}
    with concurrent.futures.ThreadPoolExecutor(max(1, len(measure.cores()) // 2)) as pool:
        try:
            jobs = {}
            for tool in ("callgrind", "strace"):
                for op in ("get", "set") if tool == "callgrind" else ("get",):
                    for pipeline in (1, 10, 64):
                        # whole pipelines, so that both lengths batch alike
                        n = requests[tool] // (10 * pipeline) * 10 * pipeline
                        for kind in kinds.values():
                            jobs[tool, op, pipeline, kind.name] = per_op(pool, kind, tool, op, pipeline, n)
            rows = {key: wait() for key, wait in jobs.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    first = next(iter(kinds))
    out = []
    for tool, op, pipeline in dict.fromkeys(key[:3] for key in rows):
        values = [rows[tool, op, pipeline, name] for name in kinds]
        what = "instructions" if tool == "callgrind" else "system calls"
        out.append(["%s per %s, pipeline %d" % (what, op.upper(), pipeline)] + values + [v / values[0] for v in values[1:]])
    report.section("1. Cost per operation", [""] + list(kinds) + ["%s / %s" % (n, first) for n in list(kinds)[1:]], out,
                   ["difference of runs of N and 3N requests over 2N, N = %d; 1 thread, 10 connections, 100 B values, 10,000 keys" %
                    requests["callgrind"], "instructions of user code by callgrind, system calls by strace -c; whole process"])
