"""What each command does to a WATCH on the keys around it: EXEC fails after a change, and only then."""

SETUP = [["FLUSHALL"], ["SET", "s", "abc"], ["HSET", "h", "f", "1", "n", "5"], ["SET", "i", "5"], ["SET", "t", "x", "EX", "1000"]]
KEYS = ["s", "h", "absent", "i", "t"]
CASES = """
HDEL h nofield|HDEL h f|HSET h f 1|HSET h f 2|HSETNX h f 9|HINCRBY h n 0|HINCRBYFLOAT h n 0
SETBIT s 1 1|SETBIT s 1 0|SETBIT s 7 0|SETBIT s 70 0|BITFIELD s SET u8 0 97|BITFIELD s GET u8 0|BITFIELD s INCRBY u8 0 0
BITFIELD s SET u8 100 0|BITFIELD s SET u4 0 1 SET u4 0 6|BITFIELD_RO s GET u8 0|BITOP NOT absent2 absent|BITOP NOT s absent|BITOP AND s s s
SET s abc|SET s x NX|SET absent x XX|SET absent x NX|SETNX s x|GETSET s abc|GETDEL absent|GETDEL s|GETEX s|GETEX s PERSIST
GETEX s EX 100|GETEX t PERSIST|APPEND s ''|SETRANGE s 0 abc|SETRANGE absent 0 ''|INCRBY i 0|DECR i|INCRBYFLOAT i 0
DEL absent|DEL s|UNLINK s absent|EXPIRE s 100|EXPIRE s -1|EXPIRE absent 10|EXPIRE t 100 NX|EXPIRE t 100 GT|PERSIST s|PERSIST t
RENAME s s|RENAME s absent|RENAMENX s i|RENAMENX s s|COPY s absent|COPY s i|COPY i s REPLACE|MOVE s 1|MOVE absent 1
MSET s abc|MSETNX s 1 absent 2|MSETNX absent 2|TOUCH s|OBJECT ENCODING s|PEXPIREAT s 99999999999999|PSETEX s 1000 a|SETEX s 10 a
RESTORE s 0 x REPLACE|HGETALL h|GET s|SCAN 0|HRANDFIELD h|SWAPDB 1 2
"""


def outcome(server, case, key):
    watcher, other = server.conn(), server.conn()
    for words in SETUP:
        other.cmd(*words)
    watcher.cmd("WATCH", key)
    other.cmd(*["" if w == "''" else w for w in case.split()])
    watcher.cmd("MULTI")
    watcher.cmd("PING")
    out = watcher.cmd("EXEC")
    watcher.close()
    other.close()
    return out


def differences(oracle, ours):
    """Lines, one for each case whose EXEC ends differently on the two servers."""
    out = []
    for case in CASES.replace("\n", "|").strip("|").split("|"):
        for key in KEYS:
            a, b = outcome(oracle, case, key), outcome(ours, case, key)
            if a != b:
                out.append("WATCH %s, %s: redis %r, strata %r" % (key, case, a, b))
    return out
