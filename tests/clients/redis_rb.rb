# redis-rb: what its users do, over the unix socket and TCP. Arguments: socket, port.
require "redis"
require "digest"

def check(what, good)
  abort "#{what} is wrong" unless good
end

def fails(what, pattern)
  yield
  abort "#{what} did not fail"
rescue Redis::CommandError => e
  check "the error of #{what}: #{e.message}", e.message =~ pattern
end

def values(r)
  check "SET", r.set("k", "v", ex: 100) == "OK" && r.get("k") == "v"
  check "TTL", (1..100).include?(r.ttl("k"))
  check "SET NX", r.set("k", "w", nx: true) == false
  check "a missing key", r.get("none").nil?
  binary = (0..255).to_a.pack("C*") * 3
  r.set("binary", binary)
  check "a binary value", r.get("binary").b == binary
  large = Random.new(1).bytes(5 << 20)
  r.set("large", large)
  check "a large value", Digest::SHA256.digest(r.get("large")) == Digest::SHA256.digest(large)
  r.hset("h", "a", "1", "b", "two")
  check "HGETALL", r.hgetall("h") == { "a" => "1", "b" => "two" }
  check "MGET", r.mget("k", "none") == ["v", nil]
end

def batches(r)
  got = r.pipelined { |p| 1000.times { |i| p.set("p:#{i}", i) } }
  check "a pipeline", got == ["OK"] * 1000
  check "SCAN", r.scan_each(match: "p:*", count: 100).to_a.uniq.size == 1000
  check "MULTI", r.multi { |t| t.set("n", 1); t.incr("n"); t.hget("h", "b") } == ["OK", 2, "two"]
end

def conflict(r, other)
  result = r.watch("n") do
    other.set("n", 50)
    r.multi { |t| t.set("n", 60) }
  end
  check "EXEC after a change", result.nil? && r.get("n") == "50"
  result = r.watch("n") { r.multi { |t| t.incr("n") } }
  check "EXEC without a change", result == [51]
end

def errors(r)
  fails("INCR of a word", /\AERR value is not an integer/) { r.incr("k") }
  fails("HGET of a string", /\AWRONGTYPE/) { r.hget("k", "f") }
  fails("an unknown call", /\AERR unknown command 'NOSUCH'/) { r.call("NOSUCH", "x") }
  fails("a pipeline", /\AERR value is not an integer/) { r.pipelined { |p| p.incr("k"); p.get("k") } }
  check "a call after errors", r.get("k") == "v"
end

def reconnects(r, other)
  id = r.call("CLIENT", "ID")
  check "CLIENT KILL", other.call("CLIENT", "KILL", "ID", id) == 1
  check "a call after CLIENT KILL", r.get("k") == "v" && r.call("CLIENT", "ID") != id
end

[{ path: ARGV[0] }, { host: "127.0.0.1", port: ARGV[1].to_i }].each do |where|
  r = Redis.new(**where, id: "app", timeout: 60)
  other = Redis.new(**where, timeout: 60)
  r.flushall
  values(r)
  batches(r)
  conflict(r, other)
  errors(r)
  reconnects(r, other)
  other.quit
  r.quit
end
