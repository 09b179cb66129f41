"""Clients that run on node, by npm: installed once into one folder, for whichever stage comes first."""
import json
import os
import shutil
import subprocess

from server import ROOT

FOLDER = ROOT + "/build/clients"
# name, script, package as npm knows it, name it is installed by, the node it needs
CLIENTS = [("ioredis 6", "ioredis.js", "ioredis@6.0.0", "ioredis", 20), ("ioredis 5", "ioredis.js", "ioredis@5.9.3", "ioredis5", 12),
           ("node-redis 6", "node_redis.js", "redis@6.3.1", "redis", 20), ("node-redis 4", "node_redis.js", "redis@4.7.0", "redis4", 14)]


def env():
    return dict(os.environ, NODE_PATH=FOLDER + "/node_modules")


def npm_install(clients):
    """Why it could not be, or None. What is there already is not asked for again."""
    want = json.dumps({"private": True, "dependencies": {c[3]: "npm:" + c[2] for c in clients}}, indent=2)
    made = FOLDER + "/installed.json"
    if os.path.exists(made) and open(made).read() == want:
        return None
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    with open(FOLDER + "/package.json", "w") as f:
        f.write(want)
    try:
        p = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"], cwd=FOLDER, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "npm did not answer"
    if p.returncode != 0:
        assert "E404" not in p.stderr and "ETARGET" not in p.stderr, p.stderr[-1500:]
        return "npm could not reach its registry"
    os.rename(FOLDER + "/package.json", made)
    return None


def install():
    """Each client with why it cannot be used here, or None: all that this machine's node can run, whichever are wanted now."""
    missing = next((name + " is not installed" for name in ("node", "npm") if not shutil.which(name)), None)
    major = 0 if missing else int(subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60).stdout.lstrip("v").split(".")[0])
    missing = missing or npm_install([c for c in CLIENTS if c[4] <= major])
    return [(c, missing or ("needs node %d" % c[4] if c[4] > major else None)) for c in CLIENTS]


def run(report, fn, script=None, title="%s"):
    """Reports fn(client) for each of CLIENTS, or of those that run the script, by its name in the title."""
    chosen = [c for c in CLIENTS if script in (None, c[1]) and report.wanted(title % c[0])]
    if not chosen:
        return
    try:
        clients = [(c, why) for c, why in install() if c in chosen]
    except AssertionError as e:
        return report.bad("node clients", e)
    for client, missing in clients:
        if missing:
            report.skip(title % client[0], missing)
        else:
            report.run(title % client[0], lambda: fn(client))
