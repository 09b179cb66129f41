"""Section 2, scale: what a second thread and more keys cost an operation of ours."""
import json
import os
import subprocess

import cost
import measure
import servers

PIPELINE = 16
KEY_BYTES = 200  # more than a key and its value of 100 bytes take
WRAP = cost.CALLGRIND + ["--instr-atstart=no"]


def us_per_op(server, cores, seconds, **options):
    """CPU time of the server; a generator on each of the cores, with 25 connections for each thread of the server."""
    before = measure.cpu_ns(server)
    loads = [measure.load_start(server, [core], seconds=seconds, pipeline=PIPELINE, connections=25 * server.threads, seed=core + 1, **options)
             for core in cores]
    results = [json.loads(measure.finish(load)) for load in loads]
    for r in results:
        if r["errors"] or r["nulls"]:
            raise SystemExit("%d errors, %d misses: %s" % (r["errors"], r["nulls"], r["first_error"]))
    return (measure.cpu_ns(server) - before) / 1000 / sum(r["requests"] for r in results)


def threads(report, kind, count, seconds):
    cores = measure.cores()
    rows = []
    with servers.Server(kind, cores=cores[:1]) as one, servers.Server(kind, threads=len(cores), cores=cores) as all_of_them:
        sides = (one, all_of_them)
        for server in sides:
            measure.preload(server)
            us_per_op(server, cores, min(1, seconds))
        for label, keys, reads in (("GET, 10,000 keys", 10000, 100), ("SET, 10,000 keys", 10000, 0), ("GET, a single hot key", 1, 100)):
            pairs = []
            for i in range(count):
                got = {server: us_per_op(server, cores, seconds, keys=keys, reads=reads) for server in (sides if i % 2 == 0 else sides[::-1])}
                pairs.append((got[one], got[all_of_them]))
            low, middle, high = measure.quartiles([b / a for a, b in pairs])
            rows.append([label] + [measure.quartiles([p[i] for p in pairs])[1] for i in (0, 1)] + [middle, "%.2f-%.2f" % (low, high)])
    report.section("2. Threads, CPU time per operation", ["", "1 thread, us", "%d threads, us" % len(cores), "ratio", "quartiles"], rows,
                   ["pipeline %d; on each core a generator with 25 connections for each thread of the server; %d pairs of 2 x %g s, A B B A" %
                    (PIPELINE, count, seconds)])


def control(server, *words):
    subprocess.run(["callgrind_control", *words, str(server.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def instructions_per_get(kind, keys, requests):
    """Of user code, from when all keys are there."""
    with servers.Server(kind, wrap=WRAP) as server:
        measure.preload(server, keys=keys)
        control(server, "-i", "on")
        measure.load(server, requests=requests, keys=keys, pipeline=PIPELINE)
        control(server, "-d")
        return cost.instructions(server.path("callgrind.out.1")) / requests


def sizes(report, kind, quick):
    cores = measure.cores()[:1]
    rows = []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for keys in (10000, 100000, 1000000) if quick else (10000, 100000, 1000000, 10000000, 50000000):
        if keys * KEY_BYTES > memory / 2:
            break
        with servers.Server(kind, cores=cores) as server:
            measure.preload(server, measure.cores()[-1:], keys=keys)
            us = measure.quartiles([us_per_op(server, cores, 1 if quick else 3, keys=keys) for _ in range(5)])
        counted = instructions_per_get(kind, keys, 100000) if keys <= (100000 if quick else 1000000) else "-"
        rows.append(["{:,}".format(keys), us[1], "%.2f-%.2f" % (us[0], us[2]), counted])
    report.section("2. Keys, cost of a GET", ["keys", "CPU us/op", "quartiles", "user instructions"], rows,
                   ["pipeline %d, 100 B values, uniform; CPU time holds the misses of the processor's caches; instructions by callgrind of 100,000 requests "
                    "once the keys are there, whole process" % PIPELINE])


def section(report, kinds, quick):
    kind = next(iter(kinds.values()))
    threads(report, kind, *((3, 1) if quick else (7, 3)))
    sizes(report, kind, quick)
