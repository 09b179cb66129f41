// ioredis: what its users do, over the unix socket and TCP. Arguments: module, socket, port.
const crypto = require('crypto');
const assert = require('assert');
const [name, socket, port] = process.argv.slice(2);
const loaded = require(name);
const Redis = loaded.Redis || loaded;

async function fails(promise, pattern) {
  await assert.rejects(promise, (e) => pattern.test(e.message), `no error like ${pattern}`);
}

async function values(r) {
  assert.equal(await r.set('k', 'v', 'EX', 100), 'OK');
  assert.equal(await r.get('k'), 'v');
  const ttl = await r.ttl('k');
  assert(ttl > 0 && ttl <= 100);
  assert.equal(await r.set('k', 'w', 'NX'), null);
  assert.equal(await r.get('none'), null);
  const binary = Buffer.from(Array.from({ length: 768 }, (_, i) => i % 256));
  await r.set('binary', binary);
  assert(binary.equals(await r.getBuffer('binary')), 'a binary value');
  const large = crypto.randomBytes(5 << 20);
  await r.set('large', large);
  assert(large.equals(await r.getBuffer('large')), 'a large value');
  await r.hset('h', { a: '1', b: 'two' });
  assert.deepEqual({ ...(await r.hgetall('h')) }, { a: '1', b: 'two' });
  assert.deepEqual(await r.mget('k', 'none'), ['v', null]);
}

async function batches(r) {
  const p = r.pipeline();
  for (let i = 0; i < 1000; i++) p.set(`p:${i}`, i);
  const got = await p.exec();
  assert(got.length === 1000 && got.every(([e, v]) => e === null && v === 'OK'), 'a pipeline');
  const seen = new Set();
  for await (const keys of r.scanStream({ match: 'p:*', count: 100 })) keys.forEach((k) => seen.add(k));
  assert.equal(seen.size, 1000);
  const m = await r.multi().set('n', 1).incr('n').hget('h', 'b').exec();
  assert.deepEqual(m, [[null, 'OK'], [null, 2], [null, 'two']]);
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => r.incrby('sum', i)));
  assert.equal(many[499], 124750);
}

async function conflict(r, other) {
  await r.watch('n');
  await other.set('n', 50);
  assert.equal(await r.multi().set('n', 60).exec(), null);
  assert.equal(await r.get('n'), '50');
  await r.watch('n');
  assert.deepEqual(await r.multi().incr('n').exec(), [[null, 51]]);
}

async function errors(r) {
  await fails(r.incr('k'), /^ERR value is not an integer/);
  await fails(r.hget('k', 'f'), /^WRONGTYPE/);
  await fails(r.call('NOSUCH', 'x'), /^ERR unknown command 'NOSUCH'/);
  const [[e], [, v]] = await r.pipeline().incr('k').get('k').exec();
  assert(/not an integer/.test(e.message) && v === 'v', 'a pipeline with an error');
  assert.equal(await r.get('k'), 'v');
}

async function reconnects(r, other) {
  const id = await r.client('ID');
  const again = new Promise((done) => r.once('ready', done));
  assert.equal(await other.client('KILL', 'ID', id), 1);
  await again;
  assert.equal(await r.get('k'), 'v');
  assert.notEqual(await r.client('ID'), id);
}

async function main() {
  for (const where of [{ path: socket }, { host: '127.0.0.1', port: Number(port) }]) {
    for (const extra of [{}, { protocol: 2 }]) {
      const r = new Redis({ ...where, ...extra, connectionName: 'app' });
      const other = new Redis({ ...where, ...extra });
      await r.flushall();
      await values(r);
      await batches(r);
      await conflict(r, other);
      await errors(r);
      await reconnects(r, other);
      await Promise.all([r.quit(), other.quit()]);
    }
  }
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
