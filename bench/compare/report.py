"""Tables on the terminal and result files."""
import datetime
import os
import platform
import re
import subprocess

import servers


def cell(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        if value != value:
            return "-"
        return "%.0f" % value if abs(value) >= 1000 else "%.1f" % value if abs(value) >= 10 else "%.3f" % value
    return str(value)


def table(head, rows):
    """Aligned columns: the first to the left, the others to the right."""
    text = [[cell(c) for c in row] for row in [head] + rows]
    width = [max(len(row[i]) for row in text) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, width))).rstrip() for row in text]
    return "\n".join([lines[0], "  ".join("-" * w for w in width)] + lines[1:])


class Report:
    """Prints each section as it is ready and keeps it for the result file."""

    def __init__(self):
        self.sections = []

    def section(self, title, head, rows, notes=()):
        body = table(head, rows)
        self.sections.append((title, body, list(notes)))
        print("\n%s\n\n%s" % (title, body))
        for note in notes:
            print("  " + note)
        print(flush=True)

    def write(self, path, command, kinds, rounds, steal):
        with open(path, "w") as f:
            f.write(self.text(command, kinds, rounds, steal))

    def text(self, command, kinds, rounds, steal):
        out = ["# Benchmark result", "", "- commit: %s" % commit(kinds), "- command: `%s`" % command,
               "- date: %s UTC" % datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
               "- machine: %s" % machine(), "- steal while it ran: %.1f%% of one core" % steal, "- rounds: %s" % rounds]
        out += ["- %s: %s" % (name, kind.version()) for name, kind in kinds.items()]
        for title, body, notes in self.sections:
            out += ["", "## " + title, "", "```", body, "```"]
            out += [""] + ["- " + n for n in notes] if notes else []
        return "\n".join(out) + "\n"


def git(*words):
    out = subprocess.run(["git", "-C", servers.ROOT] + list(words), capture_output=True, text=True)
    return out.stdout.strip()


def commit(kinds):
    """HEAD, and what the binary says of itself when that is another commit."""
    text = git("rev-parse", "--short=12", "HEAD") or "unknown"
    built = re.search(r"\bsha=([0-9a-f]{7,})", next(iter(kinds.values())).version())
    if built and not text.startswith(built.group(1)) and int(built.group(1), 16) != 0:
        text += ", configured at %s" % built.group(1)
    return text + (" with uncommitted changes" if git("status", "--porcelain", "--", "src", "cluster", "persist", "bench", "CMakeLists.txt") else "")


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 1048576
    release = platform.release().split("-")[0]
    return "%d cores of %s, %.0f GB, Linux %s" % (len(os.sched_getaffinity(0)), model, memory, release)
