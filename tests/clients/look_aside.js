// ioredis: many who look aside (GET, on null a load and SET) over one connection. Arguments: module, socket, port.
const assert = require('assert');
const [name, socket, port] = process.argv.slice(2);
const loaded = require(name);
const Redis = loaded.Redis || loaded;
const TASKS = 60, ROUNDS = 40, KEYS = 12;

const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function look(r, counts) {
  for (let i = 0; i < ROUNDS; i++) {
    const key = `mix:${Math.floor(Math.random() * KEYS)}`;
    const got = await r.get(key);
    counts.replies++;
    assert(got === null || got.startsWith(`${key}=`), `${key}: ${got}`);
    if (got === null) {
      await rest(Math.random() * 8);
      assert.equal(await r.set(key, `${key}=node`, 'PX', 20 + Math.floor(Math.random() * 100)), 'OK');
    } else if (Math.random() < 0.1) {
      await r.del(key);
    }
  }
}

async function main() {
  const r = new Redis(process.env.LOOK_ASIDE_TCP ? { port, host: '127.0.0.1', commandTimeout: 60000 } : { path: socket, commandTimeout: 60000 });
  const counts = { replies: 0 };
  await Promise.all(Array.from({ length: TASKS }, () => look(r, counts)));
  assert.equal(counts.replies, TASKS * ROUNDS);
  r.disconnect();
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
