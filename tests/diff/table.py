"""The command table: what COMMAND INFO says of every command that both servers have, ACL CAT, COMMAND LIST and COUNT."""

# arguments since 7.2: GETKEYS of a command without any
NEWER = {("command|getkeys", "arity"), ("command|getkeysandflags", "arity")}
FIELDS = ("name", "arity", "flags", "first", "last", "step", "categories", "tips", "keys")


def text(v):
    return v.decode() if isinstance(v, bytes) else v


def pairs(flat):
    return {text(flat[i]): flat[i + 1] for i in range(0, len(flat), 2)}


def places(specs):
    """Where the keys are; the words for their use are our own, they say what has to be in memory (DIFFERENCES.md)."""
    return [(pairs(pairs(s)["begin_search"])["spec"], pairs(pairs(s)["find_keys"])["spec"]) for s in specs]


def rows(info, found):
    """name -> comparable row, for a command and its subcommands."""
    row = dict(zip(FIELDS, info[:9]))
    for field in ("flags", "categories", "tips"):
        row[field] = sorted(text(v) for v in row[field])
    row["keys"] = places(row["keys"])
    found[text(row["name"])] = row
    for sub in info[9]:
        rows(sub, found)
    return found


def table_of(conn):
    found = {}
    for info in conn.cmd("COMMAND"):
        rows(info, found)
    return found


def differences(oracle, ours):
    theirs, mine = table_of(oracle), table_of(ours)
    out = []
    for name in sorted(set(theirs) & set(mine)):
        for field in FIELDS:
            a, b = theirs[name][field], mine[name][field]
            if a != b and (name, field) not in NEWER:
                out.append("%s %s: redis %r, strata %r" % (name, field, a, b))
    names = {text(n) for n in ours.cmd("COMMAND", "LIST")}
    if names != set(mine):
        out.append("COMMAND LIST and COMMAND differ: %r" % sorted(names ^ set(mine)))
    if ours.cmd("COMMAND", "COUNT") != len([n for n in mine if "|" not in n]):
        out.append("COMMAND COUNT does not count COMMAND's rows")
    categories = ours.cmd("ACL", "CAT")
    if categories != oracle.cmd("ACL", "CAT"):
        out.append("other categories: %r" % categories)
    for category in categories:
        a, b = ({text(n) for n in c.cmd("ACL", "CAT", text(category))} for c in (oracle, ours))
        listed = {text(n) for n in ours.cmd("COMMAND", "LIST", "FILTERBY", "ACLCAT", text(category))}
        if a & set(mine) != b & set(theirs) or b != listed:
            out.append("category %s: %r" % (text(category), sorted((a & set(mine)) ^ (b & set(theirs)) or b ^ listed)))
    return out
