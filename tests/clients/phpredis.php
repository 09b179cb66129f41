<?php
// phpredis: what its users do, over the unix socket and TCP. Arguments: socket, port.

function check(string $what, bool $good): void {
    if (!$good) {
        fwrite(STDERR, "$what is wrong\n");
        exit(1);
    }
}

function connected(array $where): Redis {
    $r = new Redis();
    check("connecting", $r->connect(...$where));
    return $r;
}

function values(Redis $r): void {
    check("SET", $r->set("k", "v", ["ex" => 100]) && $r->get("k") === "v");
    check("TTL", $r->ttl("k") > 0 && $r->ttl("k") <= 100);
    check("SET NX", $r->set("k", "w", ["nx"]) === false);
    check("a missing key", $r->get("none") === false);
    $binary = str_repeat(implode("", array_map("chr", range(0, 255))), 3);
    $r->set("binary", $binary);
    check("a binary value", $r->get("binary") === $binary);
    $large = random_bytes(5 << 20);
    $r->set("large", $large);
    check("a large value", $r->get("large") === $large);
    $r->hMSet("h", ["a" => "1", "b" => "two"]);
    check("HGETALL", $r->hGetAll("h") == ["a" => "1", "b" => "two"]);
    check("MGET", $r->mGet(["k", "none"]) === ["v", false]);
}

function batches(Redis $r): void {
    $p = $r->multi(Redis::PIPELINE);
    for ($i = 0; $i < 1000; $i++) {
        $p->set("p:$i", $i);
    }
    check("a pipeline", $p->exec() === array_fill(0, 1000, true));
    $r->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
    $seen = [];
    $cursor = null;
    while (($keys = $r->scan($cursor, "p:*", 100)) !== false) {
        foreach ($keys as $key) {
            $seen[$key] = true;
        }
    }
    check("SCAN", count($seen) === 1000);
    check("MULTI", $r->multi()->set("n", 1)->incr("n")->hGet("h", "b")->exec() === [true, 2, "two"]);
}

function conflict(Redis $r, Redis $other): void {
    $r->watch("n");
    $other->set("n", 50);
    check("EXEC after a change", $r->multi()->set("n", 60)->exec() === false && $r->get("n") === "50");
    $r->watch("n");
    check("EXEC without a change", $r->multi()->incr("n")->exec() === [51]);
}

function errors(Redis $r): void {
    check("INCR of a word", $r->incr("k") === false && str_starts_with($r->getLastError(), "ERR value is not an integer"));
    $r->clearLastError();
    check("HGET of a string", $r->hGet("k", "f") === false && str_starts_with($r->getLastError(), "WRONGTYPE"));
    $r->clearLastError();
    check("an unknown call", $r->rawCommand("NOSUCH", "x") === false && str_starts_with($r->getLastError(), "ERR unknown command 'NOSUCH'"));
    $r->clearLastError();
    check("a pipeline with an error", $r->multi(Redis::PIPELINE)->incr("k")->get("k")->exec() === [false, "v"]);
    check("a call after errors", $r->get("k") === "v");
}

function reconnects(Redis $r, Redis $other): void {
    $id = $r->client("id");
    check("CLIENT KILL", $other->rawCommand("CLIENT", "KILL", "ID", $id) === 1);
    check("a call after CLIENT KILL", $r->get("k") === "v" && $r->client("id") !== $id);
}

foreach ([[$argv[1]], ["127.0.0.1", (int) $argv[2]]] as $where) {
    $r = connected($where);
    $other = connected($where);
    $r->flushAll();
    values($r);
    batches($r);
    conflict($r, $other);
    errors($r);
    reconnects($r, $other);
    $other->close();
    $r->close();
}
