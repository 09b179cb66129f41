#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What counting and looking at the traffic take of a GET whose key is not in the sample: instructions that callgrind charges to their lines, inside the event loop's turn, as
differences of runs of N and 3N requests. bench/compare/counting.py [pipeline ...]; STRATA_SERVER names another binary with debug lines."""
import collections
import re
import sys

import cost
import servers

WRAP = cost.CALLGRIND + ["--toggle-collect=check_cb"]
COUNTING = ("stats/stats.h", "stats/hist.h", "stats/stat.h", "stats/stats.c", "stats/hist.c", "stats/tiers.h", "stats/tiers.c")
# What a sampled key costs is left out: its share falls while this runs, so a difference of runs does not tell it.
LOOKING = ("server/sighting.h", "sight/topk.c")
WARM = 64000


def charged(path):
    """Instructions by the file of the line they were made from."""
    names, sums, current, inclusive = {}, collections.Counter(), "", False
    with open(path) as f:
        for line in f:
            m = re.match(r"(fl|fi|fe)=\((\d+)\)(?: (.*))?$", line)
            if m:
                current = names.setdefault(m[2], m[3] or "")
            elif line.startswith("cfi=") or line.startswith("cfl="):
                m = re.match(r"\w+=\((\d+)\)(?: (.*))?$", line)
                names.setdefault(m[1], m[2] or "")
            elif line.startswith("calls="):
                inclusive = True
            elif re.match(r"[+\-*\d]", line):
                if not inclusive:
                    sums[current] += int(line.split()[1])
                inclusive = False
    return sums


def run(pipeline, n):
    kind = servers.kinds()["strata"]
    with servers.Server(kind, wrap=WRAP) as server:
        cost.benchmark(server, "set", 64, WARM)
        cost.benchmark(server, "get", 64, WARM)
        cost.benchmark(server, "get", pipeline, n)
        server.end(60)
        return charged(server.path("callgrind.out"))


def main():
    for pipeline in [int(a) for a in sys.argv[1:]] or [1, 64]:
        n = 6400 if pipeline == 1 else 12800
        one, three = run(pipeline, n), run(pipeline, 3 * n)
        per = {name: (three[name] - one[name]) / (2 * n) for name in three}
        total = sum(per.values())
        parts = [sum(v for name, v in per.items() if name.endswith(which)) for which in (COUNTING, LOOKING)]
        print("GET, pipeline %d: %.0f instructions, counting %.1f, looking %.1f: %.2f%%" % (pipeline, total, parts[0], parts[1], 100 * sum(parts) / total))
        for name, v in sorted(per.items(), key=lambda x: -x[1]):
            if v > 0.2 and name.endswith(COUNTING + LOOKING):
                print("    %-40s %6.1f" % (name[-40:], v))


if __name__ == "__main__":
    main()
