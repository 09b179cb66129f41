"""redis-py: threads that look aside (GET, on None a load and SET) over a pool of connections. Arguments: socket, port."""
import random
import sys
import threading
import time

import redis

THREADS, ROUNDS, KEYS = 24, 100, 12
pool = redis.ConnectionPool(host="127.0.0.1", port=int(sys.argv[2]), socket_timeout=60)
done, wrong = [], []


def look():
    rng, n = random.Random(), 0
    try:
        for _ in range(ROUNDS):
            r = redis.Redis(connection_pool=pool)  # a connection of the pool per call
            key = "mix:%d" % rng.randrange(KEYS)
            got = r.get(key)
            n += 1
            assert got is None or got.startswith(key.encode() + b"="), (key, got)
            if got is None:
                time.sleep(rng.random() * 0.008)
                r.set(key, key + "=python", px=rng.randrange(20, 120))
            elif rng.random() < 0.1:
                r.delete(key)
    except Exception as e:
        wrong.append(e)
    done.append(n)


threads = [threading.Thread(target=look) for _ in range(THREADS)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not wrong, wrong[0]
assert sum(done) == THREADS * ROUNDS
