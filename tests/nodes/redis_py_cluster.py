"""redis-py's RedisCluster against a cluster of Stratas. Argument: the port of one node."""
import sys

import redis.cluster

r = redis.cluster.RedisCluster(host="127.0.0.1", port=int(sys.argv[1]))
for i in range(50):
    assert r.set("py:%d" % i, "v%d" % i)
for i in range(50):
    assert r.get("py:%d" % i) == b"v%d" % i
assert r.mget_nonatomic(*["py:%d" % i for i in range(50)]) == [b"v%d" % i for i in range(50)]
with r.pipeline() as p:
    for i in range(50):
        p.get("py:%d" % i)
    assert p.execute() == [b"v%d" % i for i in range(50)]
assert len(r.get_nodes()) == 3 and len(r.cluster_nodes()) == 3 and r.cluster_info()["cluster_state"] == "ok"
assert r.keyslot("foo") == 12182 and r.cluster_keyslot("foo") == 12182
print("fine")
