"""Section compression: what `l2-compression` saves and costs, with values that are noise and with values as applications have them."""
import json
import random
import time

import larger
import measure
import servers

LIMIT, KEYS, VALUE = 96 << 20, 200000, 1000
NAMES = ("anna", "bert", "carla", "dirk", "elena", "franz", "greta", "hugo", "ines", "jan")


def document(rng):
    """A session as JSON, cut to size: names repeat, numbers and tokens do not."""
    rows = []
    text = ""
    while len(text) < VALUE:
        rows.append({"id": rng.randrange(10**9), "user": rng.choice(NAMES), "token": "%032x" % rng.getrandbits(128), "active": rng.random() < 0.5,
                     "price": round(rng.random() * 100, 2), "updated": "2026-0%d-%02dT%02d:%02d:00Z" % (rng.randint(1, 9), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59))})
        text = json.dumps({"version": 3, "items": rows})
    return text[:VALUE].encode()


def fill_documents(server):
    rng, client = random.Random(1), servers.Client(server.port)
    for at in range(0, KEYS, 100):
        parts = []
        for key in range(at, at + 100):
            name, value = b"%016d" % key, document(rng)
            parts.append(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(name), name, len(value), value))
        client.socket.sendall(b"".join(parts))
        for _ in range(100):
            client.reply()
    client.close()


def fill_noise(server):
    measure.load(server, pattern="sequence", keys=KEYS, requests=KEYS, reads=0, value_size=VALUE, connections=4, pipeline=4, rate=10000)


def at_rest(server):
    """Waits until RocksDB merges nothing any more."""
    larger.settle(server)
    quiet, last = 0, None
    while quiet < 4:
        now = larger.written(server)
        quiet = quiet + 1 if now == last else 0
        last = now
        time.sleep(0.5)


def read_documents(server, count):
    """Cold reads, one at a time; they need not be fast."""
    rng, client = random.Random(2), servers.Client(server.port)
    for _ in range(count // 50):
        names = [b"%016d" % rng.randrange(KEYS) for _ in range(50)]
        client.socket.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n" % n for n in names))
        for _ in names:
            client.reply()
    client.close()


def row(kinds, codec, content, fill, read):
    base = servers.with_disk(kinds["strata"])
    kind = servers.Kind(base.name, base.command + " --l2-compression " + codec, base.memory, base.policy)
    with servers.Server(kind, maxmemory=LIMIT) as server:
        cpu = measure.cpu_ns(server)
        fill(server)
        at_rest(server)
        info, filled = larger.tiers(server), measure.cpu_ns(server)
        accepted = info["l2_bytes_in"]
        read(server)
        after, read_cpu = larger.tiers(server), measure.cpu_ns(server)
        cold = max(1, larger.cold(after) - larger.cold(info))
        return [content + ", " + codec, info["l2_disk_bytes"] / max(1, info["l2_keys"] * VALUE), larger.written(server) / accepted,
                (filled - cpu) / 1e3 / KEYS, (read_cpu - filled) / 1e3 / cold]


def section(report, kinds, quick):
    reads = 20000 if quick else 100000

    def read_noise(server):
        measure.load(server, keys=KEYS, reads=100, value_size=VALUE, requests=reads, pattern="uniform", connections=50)

    rows = []
    for codec in ("none", "lz4", "zstd"):
        rows.append(row(kinds, codec, "noise", fill_noise, read_noise))
        rows.append(row(kinds, codec, "JSON", fill_documents, lambda server: read_documents(server, reads)))
    rows.sort(key=lambda r: r[0].split(",")[0])
    report.section("Compression of the disk tier", ["", "on disk per value byte", "written per byte accepted", "CPU per SET, us", "CPU per cold hit, us"], rows, [
        "maxmemory %d MB; %d keys of %d B, then %d GETs; noise is letters and digits at random, values overlapping in it, JSON is made by the script" % (LIMIT >> 20, KEYS, VALUE, reads),
        "CPU of all threads, flush and merge included; noise is read by 50 connections, JSON by one in pipelines of 50"])
