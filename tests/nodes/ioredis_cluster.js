// ioredis's Cluster against a cluster of Stratas. Arguments: the port of one node, the name of the module.
const Redis = require(process.argv[3]);
const assert = require('assert');

async function main() {
  const c = new Redis.Cluster([{ host: '127.0.0.1', port: Number(process.argv[2]) }]);
  for (let i = 0; i < 50; i++) assert.strictEqual(await c.set(`io:${i}`, `v${i}`), 'OK');
  const got = await Promise.all(Array.from({ length: 50 }, (_, i) => c.get(`io:${i}`)));
  assert.deepStrictEqual(got, Array.from({ length: 50 }, (_, i) => `v${i}`));
  assert.deepStrictEqual(await c.multi().set('{io}a', 1).incr('{io}a').exec(), [[null, 'OK'], [null, 2]]);
  assert.strictEqual(c.nodes('master').length, 3);
  c.disconnect();
  console.log('fine');
}
main().catch((e) => { console.error(e); process.exit(1); });
