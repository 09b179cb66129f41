"""Nodes that find each other through a real etcd, which is killed and comes back meanwhile."""
import os
import shutil
import subprocess
import tempfile

import server
from nodes import Cluster, until
from resp import Error


class Etcd:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="strata-etcd-")
        self.url, self.peer = ["http://127.0.0.1:%d" % server.free_port() for _ in range(2)]
        self.start()

    def start(self):
        self.proc = subprocess.Popen(["etcd", "--name", "t", "--data-dir", self.dir, "--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer,
                                      "--initial-advertise-peer-urls", self.peer, "--initial-cluster", "t=" + self.peer, "--unsafe-no-fsync"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def keys(self):
        p = subprocess.run(["etcdctl", "--endpoints", self.url, "get", "--prefix", "--keys-only", "/strata/"], capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API="3"))
        return p.stdout.split()

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def end(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def works(cl):
    for via in range(len(cl)):
        for owner in range(len(cl)):
            k = cl.key_of(owner, "etcd%d:" % via)
            c = cl[via].conn()
            assert c.cmd("SET", k, "v") == "OK" and c.cmd("GET", k) == b"v"


def members(cl, i):
    return int(dict(line.split(":") for line in cl[i].conn().cmd("CLUSTER", "INFO").decode().split())["cluster_known_nodes"])


def nodes_find_each_other_in_etcd():
    etcd = Etcd()
    cl = Cluster(3, "--threads", 1, "--cluster-driver", "etcd", "--cluster-etcd", etcd.url, "--cluster-etcd-ttl", "2s", "--cluster-call-timeout", "1s", "--cluster-node-timeout", "2s",
                 "--cluster-remove-after", "1h", "--peers", "")
    try:
        works(cl)
        assert len(etcd.keys()) == 3, etcd.keys()
        etcd.kill()  # what was found before stays
        works(cl)
        assert [members(cl, i) for i in range(3)] == [3, 3, 3]
        etcd.start()
        until("its keys are there again", lambda: len(etcd.keys()) == 3, 60)
        lost = cl.nodes.pop()
        lost.kill()
        until("it is removed: dead, and its lease has run out", lambda: [members(cl, i) for i in range(2)] == [2, 2], 60)
        works(cl)
        cl.nodes.append(lost)
        assert lost.start_on(lost.wanted)
        cl.settle()
        works(cl)
        assert not isinstance(cl[2].conn().cmd("CLUSTER", "LEAVE"), Error)
        until("it has left", lambda: all(cl[2].port not in set(cl.owners(i)) for i in range(2)))
    finally:
        wrong = cl.stop()
        etcd.end()
    assert wrong is None, wrong


ALL = [nodes_find_each_other_in_etcd] if shutil.which("etcd") and shutil.which("etcdctl") else []
