"""A node is away while others write and purge, and comes back with what it had, in memory or on disk: nothing overwritten is seen again."""
import signal

from nodes import answering, info, slot, until, with_cluster
from resp import Error

DISK = ["--l2", "on", "--maxmemory", "64mb", "--l2-write-buffer", "1mb", "--l2-cache-size", "1mb"]
EAGER = ["--threads", 2, "--cluster-call-timeout", "1s", "--cluster-node-timeout", "2s", "--gutter-ttl", "5m"]


def keys_of(cl, owner, n, prefix):
    """n keys of different slots that a node owns."""
    owners, mine = cl.owners(), {}
    for i in range(100000):
        k = "%s:%d" % (prefix, i)
        if owners[slot(k)] == cl[owner].port:
            mine.setdefault(slot(k), k)
        if len(mine) == n:
            break
    return list(mine.values())


def write(cl, via, keys, value):
    """SET, or DEL when value is None; every one is to be acknowledged."""
    c = cl[via].conn()
    for k in keys:
        got = c.cmd("DEL", k) if value is None else c.cmd("SET", k, value)
        assert not isinstance(got, Error), (via, k, got)


def read(cl, keys, via):
    c = cl[via].conn()
    got = [c.cmd("GET", k) for k in keys]
    assert not any(isinstance(g, Error) for g in got), [g for g in got if isinstance(g, Error)][:3]
    return got


def never_again(cl, keys, value):
    """Through no node, now that all agree. Near copies of before have ended: every new ring ends them."""
    for via in range(len(cl)):
        back = [k for k, v in zip(keys, read(cl, keys, via)) if v == value]
        assert not back, "%d of %d keys have their old value again at node %d: %s" % (len(back), len(keys), via, back[:3])


def passed_over(cl, who, by):
    until("node %d is passed over" % who, lambda: all(cl[who].port not in answering(cl, i) for i in by))


def together(cl):
    ports = {n.port for n in cl}
    until("all see all", lambda: all(answering(cl, i) == ports for i in range(len(cl))), 60)
    cl.settle()


def end(node):
    """In good order: what it has in memory goes to its disk."""
    node.proc.send_signal(signal.SIGTERM)
    assert node.proc.wait(60) == 0


def purge(c, *words):
    """Again and again, as the reply says, until it is done. The refusals are clear."""
    refusals = []

    def done():
        got = c.cmd(*words)
        if isinstance(got, Error):
            assert got.startswith("CLUSTERDOWN Node ") and "drops all its keys when it can be reached" in got and "CLUSTER FORGET" in got, got
            refusals.append(got)
        return got == "OK"

    until("%s is done" % words[0], done)
    return refusals


@with_cluster(3, *EAGER, *DISK)
def what_was_written_in_its_place_is_gone_from_its_disk(cl):
    """The rest is still there: a restart keeps the disk tier warm."""
    changed, quiet = keys_of(cl, 2, 40, "changed"), keys_of(cl, 2, 40, "quiet")
    quiet = [k for k in quiet if slot(k) not in {slot(k) for k in changed}]
    write(cl, 0, changed + quiet, b"old")
    end(cl[2])
    write(cl, 0, changed[:15], None)
    write(cl, 1, changed[15:30], b"new")
    c = cl[0].conn()
    assert c.cmd("MSET", *[w for k in changed[30:] for w in (k, b"new")]) == "OK"
    lives = [c.cmd("PTTL", k) for k in changed[15:]]
    assert all(0 < ms <= 300000 for ms in lives), lives  # in its place, and so for gutter-ttl
    assert cl[2].start_on(cl[2].wanted)
    together(cl)
    never_again(cl, changed, b"old")
    assert read(cl, quiet, 1) == [b"old"] * len(quiet)
    until("it has said so", lambda: int(info(cl[2].conn(), "peers")["peer_missed_dropped"]) >= len(changed))


@with_cluster(3, *EAGER, *DISK)
def whoever_owed_it_the_news_may_fall_meanwhile(cl):
    """Both who was asked and who stood in know of it, and their notes outlive them."""
    keys = keys_of(cl, 2, 40, "owed")
    write(cl, 0, keys, b"old")
    end(cl[2])
    passed_over(cl, 2, (0, 1))
    write(cl, 0, keys, None)
    for i in (0, 1):
        cl[i].kill()
    assert cl[2].start_on(cl[2].wanted) and cl[0].start_on(cl[0].wanted) and cl[1].start_on(cl[1].wanted)
    together(cl)
    never_again(cl, keys, b"old")


def purges(cl):
    """Each kind of purge, with the keys it is about."""
    c, keys = cl[0].conn(), keys_of(cl, 2, 30, "gone")
    for words in (("FLUSHALL",), ("FLUSHDB",), ("PREFIX.PURGE", "gone:"), ("TAG.PURGE", "t")):
        write(cl, 0, keys, b"old")
        for k in keys:
            c.cmd("TAG.ADD", k, "t")
        yield words, keys


@with_cluster(3, *EAGER, *DISK)
def a_purge_is_done_without_a_node_that_has_ended(cl):
    for words, keys in purges(cl):
        end(cl[2])
        purge(cl[1].conn(), *words)
        assert cl[2].start_on(cl[2].wanted)
        together(cl)
        never_again(cl, keys, b"old")


@with_cluster(3, *EAGER)
def a_purge_is_done_without_a_node_that_is_dead(cl):
    """It hangs: at first nobody can tell that it serves nobody."""
    for words, keys in list(purges(cl))[:1]:
        write(cl, 0, keys, b"old")
        cl[2].proc.send_signal(signal.SIGSTOP)
        refusals = purge(cl[0].conn(), *words)
        assert refusals and "%s:%d" % ("127.0.0.1", cl[2].port) in refusals[0], refusals
        cl[2].proc.send_signal(signal.SIGCONT)
        together(cl)
        never_again(cl, keys, b"old")


@with_cluster(2, *EAGER, *DISK)
def of_two_nodes_one_that_has_ended_is_no_hindrance(cl):
    keys = keys_of(cl, 1, 30, "pair")
    write(cl, 0, keys, b"old")
    end(cl[1])
    purge(cl[0].conn(), "FLUSHALL")
    assert cl[1].start_on(cl[1].wanted)
    together(cl)
    never_again(cl, keys, b"old")


def alone(cl, who):
    until("it sees nobody else", lambda: answering(cl, who) == {cl[who].port})


@with_cluster(3, *EAGER, *DISK)
def a_node_that_restarts_while_the_others_are_away_is_no_cluster_of_its_own(cl):
    """It remembers them: what it writes is in their place, and they hear of it."""
    theirs, quiet = keys_of(cl, 0, 30, "theirs"), keys_of(cl, 1, 30, "quiet")
    write(cl, 2, theirs + quiet, b"old")
    owners = cl.owners(2)
    for i in (0, 1, 2):
        end(cl[i])
    assert cl[2].start_on(cl[2].wanted)
    alone(cl, 2)
    until("it has joined", lambda: info(cl[2].conn(), "peers")["members_joined"] == "1")
    write(cl, 2, theirs[:15], b"new")
    write(cl, 2, theirs[15:], None)
    c = cl[2].conn()
    assert all(0 < c.cmd("PTTL", k) <= 300000 for k in theirs[:15])  # as any that stands in
    for i in (0, 1):
        assert cl[i].start_on(cl[i].wanted)
    together(cl)
    assert cl.owners(2) == owners
    never_again(cl, theirs, b"old")
    assert read(cl, quiet, 0) == [b"old"] * len(quiet)


@with_cluster(3, *EAGER, *DISK)
def a_purge_by_a_node_that_restarted_alone_reaches_the_others(cl):
    """They have ended, as it can tell: OK is what it says, and they hear of it."""
    keys = keys_of(cl, 0, 30, "gone")
    write(cl, 2, keys, b"old")
    for i in (0, 1, 2):
        end(cl[i])
    assert cl[2].start_on(cl[2].wanted)
    alone(cl, 2)
    purge(cl[2].conn(), "PREFIX.PURGE", "gone:")
    for i in (0, 1):
        assert cl[i].start_on(cl[i].wanted)
    together(cl)
    never_again(cl, keys, b"old")


@with_cluster(3, *EAGER, "--leave-on-exit", "yes", "--handover-rate", "0", *DISK)
def a_node_that_had_left_starts_anew(cl):
    """What others own meanwhile is not on its disk when it is theirs no more."""
    keys = keys_of(cl, 2, 30, "left")
    write(cl, 0, keys, b"old")
    end(cl[2])
    until("it has left", lambda: all(cl[2].port not in set(cl.owners(i)) for i in (0, 1)))
    write(cl, 0, keys, None)
    assert cl[2].start_on(cl[2].wanted)
    together(cl)
    never_again(cl, keys, b"old")


ALL = [what_was_written_in_its_place_is_gone_from_its_disk, whoever_owed_it_the_news_may_fall_meanwhile, a_purge_is_done_without_a_node_that_has_ended,
       a_node_that_restarts_while_the_others_are_away_is_no_cluster_of_its_own, a_purge_by_a_node_that_restarted_alone_reaches_the_others,
       a_purge_is_done_without_a_node_that_is_dead, of_two_nodes_one_that_has_ended_is_no_hindrance, a_node_that_had_left_starts_anew]
