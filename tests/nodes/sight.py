"""What a node says of the calls it passes on, of the others, and of settings that differ; and the bounds that are directives."""
import nodes
import server
from nodes import info, until
from resp import Error


def command(c, name, field="calls"):
    line = info(c, "commandstats").get("cmdstat_" + name)
    return int(dict(p.split("=") for p in line.split(","))[field]) if line else 0


def forwarded_calls_are_counted_where_their_client_is(cl):
    c, k = cl[0].conn(), cl.key_of(1, "seen")
    names = [cl.key_of(i, "many") for i in range(3)]
    was = {name: command(c, name) for name in ("get", "set", "mget", "incr", "exec", "hset")}
    failed = command(c, "incr", "failed_calls")
    assert c.cmd("SET", k, "v") == "OK" and [c.cmd("GET", k) for _ in range(5)] == [b"v"] * 5 and isinstance(c.cmd("INCR", k), Error)
    assert c.cmd("HSET", k + "h", "f", "v") in (0, 1)
    assert c.cmd("MULTI") == "OK" and c.cmd("SET", k, "w") == "QUEUED" and c.cmd("EXEC") == ["OK"]
    for name, more in (("get", 5), ("set", 1), ("incr", 1), ("exec", 1)):
        assert command(c, name) - was[name] == more, (name, was[name], command(c, name))
    assert command(c, "incr", "failed_calls") - failed == 1 and command(c, "get", "usec") > 0
    assert c.cmd("MGET", *names) == [None] * 3
    assert command(c, "mget") - was["mget"] == 2  # the whole, and the part of this node's own
    assert "get" in "".join(info(c, "latencystats"))
    assert float(info(c, "tiers")["l3_latency_us_p50"]) > 0


def slow_forwarded_calls_are_in_the_slow_log(cl):
    c, k = cl[0].conn(), cl.key_of(1, "slow")
    assert c.cmd("CONFIG", "SET", "slowlog-log-slower-than", "0") == "OK"
    c.cmd("SLOWLOG", "RESET")
    c.cmd("SET", k, "v", "PX", "100000")
    c.cmd("MGET", cl.key_of(1, "a"), cl.key_of(2, "a"))
    got = [e for e in c.cmd("SLOWLOG", "GET", "10", "STEPS") if e[3][0] in (b"SET", b"MGET")]
    assert c.cmd("CONFIG", "SET", "slowlog-log-slower-than", "10000") == "OK"
    assert [e[3][0] for e in got] == [b"MGET", b"SET"], got
    assert got[1][3] == [b"SET", k.encode(), b"v", b"PX", b"100000"], got
    assert sorted(got[0][3][1:]) == sorted([cl.key_of(1, "a").encode(), cl.key_of(2, "a").encode()]), got
    assert got[1][6:8] == [b"route", b"l3"], got[1]


def peers_of(c):
    """What INFO says of the others, by their ports."""
    lines = [v for name, v in info(c, "peers").items() if name.startswith("peer") and name[4:].isdigit()]
    return {int(d["port"]): d for d in (dict(p.split("=") for p in line.split(",")) for line in lines)}


def each_other_node_has_a_line_of_its_own(cl):
    c, k = cl[0].conn(), cl.key_of(2, "rtt")
    before = peers_of(c)
    assert set(before) == {cl[1].port, cl[2].port}, before
    for _ in range(20):
        c.cmd("SET", k, "v")
    after = peers_of(c)
    more = {port: int(after[port]["calls"]) - int(before[port]["calls"]) for port in after}
    assert more == {cl[1].port: 0, cl[2].port: 20}, more
    assert int(after[cl[2].port]["rtt_us"]) > 0 and after[cl[2].port]["state"] == "alive" and after[cl[2].port]["settings"] == "same", after
    said = info(c, "peers")
    assert said["members_nodes"] == "3" and said["members_joined"] == "1" and int(said["members_messages_received"]) > 0, said


def policies_that_differ_are_named(cl):
    c = cl[0].conn()
    other = cl[2].conn().cmd("CLUSTER", "MYID").decode()
    assert info(c, "peers")["policies_differ"] == "" and peers_of(c)[cl[2].port]["settings"] == "same"
    assert cl[2].conn().cmd("CONFIG", "SET", "policy", "odd:* ttl=5m") == "OK"
    until("it is named", lambda: info(c, "peers")["policies_differ"] == other)
    assert peers_of(c)[cl[2].port]["settings"] == "policies" and info(c, "peers")["members_differing"] == "1"
    until("it is an alarm", lambda: int(info(c, "health")["health_alarms_settings"]) > 0)
    for i in (0, 1):  # blanks do not matter
        assert cl[i].conn().cmd("CONFIG", "SET", "policy", "odd:*   ttl=5m") == "OK"
    until("all have it", lambda: info(c, "peers")["policies_differ"] == "" and info(c, "peers")["members_differing"] == "0")
    assert "has other policies than this node" in cl[0].output() and "of this node again" in cl[0].output()
    assert cl[1].conn().cmd("CONFIG", "SET", "gutter-ttl", "11s") == "OK"
    until("a directive counts, too", lambda: peers_of(c)[cl[1].port]["settings"] == "directives")
    assert info(c, "peers")["policies_differ"] == ""
    cl[1].conn().cmd("CONFIG", "SET", "gutter-ttl", "10s")
    for n in cl:
        n.conn().cmd("CONFIG", "SET", "policy", "")
    until("nothing differs", lambda: info(c, "peers")["members_differing"] == "0")


def the_window_of_a_client_is_as_configured(cl):
    c, k = cl[0].conn(), cl.key_of(1, "window")
    before = int(info(c, "peers")["peer_forward_stops"])
    assert c.cmd("CONFIG", "SET", "cluster-client-calls", "4") == "OK"
    c.sock.sendall(c.encode("APPEND", k, "x") * 500)
    assert [c.read() for _ in range(500)] == list(range(1, 501))
    assert int(info(c, "peers")["peer_forward_stops"]) - before > 10
    assert c.cmd("CONFIG", "SET", "cluster-client-calls", "1024", "cluster-client-bytes", "1024") == "OK"
    before = int(info(c, "peers")["peer_forward_stops"])
    c.sock.sendall(c.encode("SET", k, "x" * 600) * 50)
    assert [c.read() for _ in range(50)] == ["OK"] * 50
    assert int(info(c, "peers")["peer_forward_stops"]) > before
    assert c.cmd("CONFIG", "SET", "cluster-client-bytes", "4mb") == "OK"


@nodes.with_cluster(3, "--threads", 2, "--cluster-slot-run", 16)
def slots_in_runs_make_short_lists(cl):
    rows = cl[0].conn().cmd("CLUSTER", "SLOTS")
    assert 100 < len(rows) < 1024, len(rows)
    assert sum(last - first + 1 for first, last, *_ in rows) == 16384
    owned = {}
    for first, last, node in rows:
        owned[node[1]] = owned.get(node[1], 0) + last - first + 1
    assert max(owned.values()) - min(owned.values()) <= 16384 / 3 * 0.051, owned
    assert cl[0].conn().cmd("MSET", "a", "1", "b", "2", "c", "3") == "OK" and cl[2].conn().cmd("MGET", "a", "b", "c") == [b"1", b"2", b"3"]
    port, bus = server.free_port(), server.free_port()
    odd = nodes.Node(port, bus, ["--cluster-enabled", "yes", "--cluster-secret", nodes.SECRET, "--peers", cl.peers, "--cluster-announce-addr", "127.0.0.1:%d@%d" % (port, bus)])
    try:
        until("it was refused", lambda: "cluster-slot-run is 16, this node's is 1" in odd.output() or "cluster-slot-run is 1, this node's is 16" in odd.output())
        assert {r[2][1] for r in odd.conn().cmd("CLUSTER", "SLOTS")} == {port}
    finally:
        assert odd.stop() is None


def links_to_other_nodes_are_counted(cl):
    c, k = cl[0].conn(), cl.key_of(1, "pool")
    c.cmd("SET", k, "v")

    def pool():
        return {n: int(v) for n, v in (p.split("=") for p in info(c, "health")["health_connections_peers"].split(","))}

    until("the links rest", lambda: pool()["open"] == pool()["idle"] > 0)
    before = pool()
    assert before["opened"] >= 2, before
    for _ in range(20):
        c.cmd("SET", k, "w")
    after = pool()
    assert after["reused"] - before["reused"] == 20 and after["opened"] == before["opened"] and after["failed"] == before["failed"], (before, after)


shared = [links_to_other_nodes_are_counted, forwarded_calls_are_counted_where_their_client_is, slow_forwarded_calls_are_in_the_slow_log, each_other_node_has_a_line_of_its_own,
          policies_that_differ_are_named, the_window_of_a_client_is_as_configured]
