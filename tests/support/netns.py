"""Clusters whose nodes have hosts of their own: a network namespace each, tied together by a bridge in one more. Faults are put in between.

Clients talk to the nodes over their unix sockets, past all of it. Needs root, `ip` and `nft`. The names say whose they are, by its process id:
what a run that was killed has left is removed by the next one.
"""
import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import nodes

MARK = "strata-net-"
SUBNET = "10.213.7."


def run(*words, check=True, stdin=None):
    p = subprocess.run([str(w) for w in words], input=stdin, capture_output=True, text=True)
    if check and p.returncode != 0:
        raise OSError("%s: %s" % (" ".join(map(str, words)), (p.stderr or p.stdout).strip()))
    return p.stdout


def inside(space, *words, **more):
    return run("ip", "netns", "exec", space, *words, **more)


def remove_stale():
    for name in re.findall(r"^(%s(\d+)-\S+)" % MARK, run("ip", "netns", "list", check=False), re.M):
        if not os.path.exists("/proc/" + name[1]):
            run("ip", "netns", "delete", name[0], check=False)


class Net:
    """n hosts on one wire. Hosts are named by their numbers, 0 to n - 1."""

    def __init__(self, n):
        remove_stale()
        atexit.register(self.close)
        self.n, own = n, "%s%d-" % (MARK, os.getpid())
        self.spaces = [own + str(i) for i in range(n)]
        self.switch = own + "switch"
        self.limited, self.dnsd = set(), None
        self.names = "%s/%snames" % (tempfile.gettempdir(), own)
        for space in self.spaces + [self.switch]:
            run("ip", "netns", "add", space)
            inside(space, "ip", "link", "set", "lo", "up")
        inside(self.switch, "ip", "link", "add", "wire", "type", "bridge")
        inside(self.switch, "ip", "link", "set", "wire", "up")
        for i, space in enumerate(self.spaces):
            run("ip", "link", "add", "eth", "netns", space, "type", "veth", "peer", "name", "port%d" % i, "netns", self.switch)
            inside(self.switch, "ip", "link", "set", "port%d" % i, "master", "wire", "up")
            inside(space, "ip", "addr", "add", self.host(i) + "/24", "dev", "eth")
            inside(space, "ip", "link", "set", "eth", "up")
            inside(space, "nft", "add", "table", "inet", "faults")
            inside(space, "nft", "add chain inet faults in { type filter hook input priority 0; }")

    def host(self, i):
        return SUBNET + str(i + 1)

    def prefix(self, i):
        """What a program's arguments begin with to run on that host; its process id is the one that was started."""
        return ["ip", "netns", "exec", self.spaces[i]]

    def close(self):
        if self.dnsd is not None:
            self.dnsd.kill()
            self.dnsd.wait()
            self.dnsd.stdout.close()
            self.dnsd = None
            os.unlink(self.names)
        for space in self.spaces:
            shutil.rmtree("/etc/netns/" + space, ignore_errors=True)
        for space in self.spaces + [self.switch]:
            run("ip", "netns", "delete", space, check=False)

    # ---- names ----

    def serve_names(self, *lines):
        """Names that all hosts look up, in lines of dnsd.py; again, with others, at any time. Before the nodes are started."""
        with open(self.names + ".new", "w") as f:
            f.write("\n".join(lines))
        os.rename(self.names + ".new", self.names)
        if self.dnsd is not None:
            return
        inside(self.switch, "ip", "addr", "add", SUBNET + "250/24", "dev", "wire")
        self.dnsd = subprocess.Popen(["ip", "netns", "exec", self.switch, sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "dnsd.py"), SUBNET + "250", self.names],
                                     stdout=subprocess.PIPE)
        assert self.dnsd.stdout.readline() == b"ready\n"
        for space in self.spaces:  # what `ip netns exec` puts in the place of /etc's
            os.makedirs("/etc/netns/" + space)
            with open("/etc/netns/%s/resolv.conf" % space, "w") as f:
                f.write("nameserver %s250\n" % SUBNET)

    # ---- faults ----

    def deafen(self, i, to):
        """Host i hears nothing of host `to` any more; the other way round, all is as before."""
        inside(self.spaces[i], "nft", "add rule inet faults in ip saddr %s drop" % self.host(to))

    def part(self, some):
        """These hosts and the others hear nothing of each other."""
        for i in range(self.n):
            for k in range(self.n):
                if (i in some) != (k in some):
                    self.deafen(i, k)

    def lose(self, percent):
        """Of what arrives anywhere, this share is lost."""
        for space in self.spaces:
            inside(space, "nft", "add rule inet faults in ip saddr %s0/24 numgen random mod 100 < %d drop" % (SUBNET, percent))

    def limit(self, i, rate, burst="16kb"):
        """What goes to and from host i goes at this rate, as tc spells it."""
        self.limited.add(i)
        shape = ["root", "tbf", "rate", rate, "burst", burst, "latency", "400ms"]
        inside(self.spaces[i], "tc", "qdisc", "replace", "dev", "eth", *shape)
        inside(self.switch, "tc", "qdisc", "replace", "dev", "port%d" % i, *shape)

    def heal(self):
        for space in self.spaces:
            inside(space, "nft", "flush", "chain", "inet", "faults", "in")
        for i in self.limited:
            inside(self.spaces[i], "tc", "qdisc", "delete", "dev", "eth", "root")
            inside(self.switch, "tc", "qdisc", "delete", "dev", "port%d" % i, "root")
        self.limited.clear()


def missing():
    """Why there can be no hosts of their own here, or None."""
    if os.geteuid() != 0:
        return "not root"
    try:
        net = Net(1)
    except OSError as e:
        return str(e)
    net.close()
    return None


def cannot(fault):
    """Why this fault (a function of a Net of two) cannot be made here, or None."""
    net = Net(2)
    try:
        fault(net)
    except OSError as e:
        return str(e)
    finally:
        net.close()
    return None


def end_in_order():
    """SIGTERM and SIGINT end the program as an exception does, so that all that was made is removed."""
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: sys.exit(1))


def with_hosts(n, *directives, names=(), **more):
    """A test of (net, cluster): n nodes, each on a host of its own. names: of Net.serve_names."""

    def wrap(fn):
        def test():
            net = Net(n)
            try:
                if names:
                    net.serve_names(*names)
                nodes.with_cluster(n, "--bind", "*", *directives, net=net, **more)(lambda cl: fn(net, cl))()
            finally:
                net.close()

        test.__name__ = fn.__name__
        return test

    return wrap
