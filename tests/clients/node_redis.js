// node-redis: what its users do, over the unix socket and TCP. Arguments: module, socket, port.
const crypto = require('crypto');
const assert = require('assert');
const [name, socket, port] = process.argv.slice(2);
const { createClient, commandOptions, RESP_TYPES, WatchError } = require(name);

async function fails(promise, pattern) {
  await assert.rejects(promise, (e) => pattern.test(e.message), `no error like ${pattern}`);
}

// The way to ask for bytes changed with version 5.
function getBuffer(r, key) {
  return commandOptions
    ? r.get(commandOptions({ returnBuffers: true }), key)
    : r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get(key);
}

async function values(r) {
  assert.equal(await r.set('k', 'v', { EX: 100 }), 'OK');
  assert.equal(await r.get('k'), 'v');
  const ttl = await r.ttl('k');
  assert(ttl > 0 && ttl <= 100);
  assert.equal(await r.set('k', 'w', { NX: true }), null);
  assert.equal(await r.get('none'), null);
  const binary = Buffer.from(Array.from({ length: 768 }, (_, i) => i % 256));
  await r.set('binary', binary);
  assert(binary.equals(await getBuffer(r, 'binary')), 'a binary value');
  const large = crypto.randomBytes(5 << 20);
  await r.set('large', large);
  assert(large.equals(await getBuffer(r, 'large')), 'a large value');
  await r.hSet('h', { a: '1', b: 'two' });
  assert.deepEqual({ ...(await r.hGetAll('h')) }, { a: '1', b: 'two' });
  assert.deepEqual(await r.mGet(['k', 'none']), ['v', null]);
}

async function batches(r) {
  const got = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`p:${i}`, String(i))));
  assert(got.every((v) => v === 'OK'), 'a pipeline');
  const seen = new Set();
  for await (const found of r.scanIterator({ MATCH: 'p:*', COUNT: 100 })) [].concat(found).forEach((k) => seen.add(k));
  assert.equal(seen.size, 1000);
  assert.deepEqual(await r.multi().set('n', '1').incr('n').hGet('h', 'b').exec(), ['OK', 2, 'two']);
}

async function conflict(r, other) {
  await r.watch('n');
  await other.set('n', '50');
  await assert.rejects(r.multi().set('n', '60').exec(), WatchError);
  assert.equal(await r.get('n'), '50');
  await r.watch('n');
  assert.deepEqual(await r.multi().incr('n').exec(), [51]);
}

async function errors(r) {
  await fails(r.incr('k'), /^ERR value is not an integer/);
  await fails(r.hGet('k', 'f'), /^WRONGTYPE/);
  await fails(r.sendCommand(['NOSUCH', 'x']), /^ERR unknown command 'NOSUCH'/);
  const [bad, good] = await Promise.allSettled([r.incr('k'), r.get('k')]);
  assert(bad.status === 'rejected' && good.value === 'v', 'a pipeline with an error');
  assert.equal(await r.get('k'), 'v');
}

async function reconnects(r, other) {
  const id = await r.sendCommand(['CLIENT', 'ID']);
  const again = new Promise((done) => r.once('ready', done));
  assert.equal(await other.sendCommand(['CLIENT', 'KILL', 'ID', String(id)]), 1);
  await again;
  assert.equal(await r.get('k'), 'v');
  assert.notEqual(await r.sendCommand(['CLIENT', 'ID']), id);
}

async function connected(options) {
  const r = createClient(options);
  r.on('error', () => {}); // the end of a connection is told here too
  await r.connect();
  return r;
}

async function main() {
  for (const where of [{ path: socket }, { host: '127.0.0.1', port: Number(port) }]) {
    for (const extra of [{}, { RESP: 2 }, { RESP: 3 }]) {
      const r = await connected({ socket: where, ...extra, name: 'app' });
      const other = await connected({ socket: where, ...extra });
      await r.flushAll();
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
