// node-redis: RESP3 with its client-side cache, scripts and functions of its own, a pool, transactions.
import assert from "node:assert/strict";
import { BasicClientSideCache, createClient, createClientPool, defineScript, WatchError } from "redis";
import { scenarios, Tally, url, within } from "./harness.mjs";

const open = (options = {}) => createClient({ url, ...options }).connect();

async function cached() {
  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100 });
  const gone = new Tally();
  cache.on("invalidate", (key) => gone.add(String(key)));
  const reader = await open({ RESP: 3, clientSideCache: cache });
  const writer = await open();
  await writer.set("cc:a", "1");
  assert.equal(await reader.get("cc:a"), "1");
  assert.equal(await reader.get("cc:a"), "1");
  assert.deepEqual([cache.stats().hitCount, cache.stats().missCount], [1, 1]);
  await writer.set("cc:a", "2");
  await gone.reach(1);
  assert.equal(await reader.get("cc:a"), "2");
  await writer.hSet("cc:h", { f: "1" });
  assert.deepEqual({ ...(await reader.hGetAll("cc:h")) }, { f: "1" });
  await writer.hIncrBy("cc:h", "f", 1);
  await gone.reach(2);
  assert.deepEqual({ ...(await reader.hGetAll("cc:h")) }, { f: "2" });
  await writer.del(["cc:a", "cc:h"]);
  await gone.reach(4);
  assert.equal(await reader.get("cc:a"), null);
  reader.destroy();
  writer.destroy();
}

async function scripts() {
  const client = await open({
    RESP: 3,
    scripts: {
      double: defineScript({
        NUMBER_OF_KEYS: 1,
        SCRIPT: "return redis.call('SET', KEYS[1], ARGV[1] * 2) and redis.call('GET', KEYS[1])",
        parseCommand(parser, key, number) {
          parser.pushKey(key);
          parser.push(String(number));
        },
        transformReply: (reply) => Number(reply),
      }),
    },
  });
  await client.scriptFlush();
  assert.equal(await client.double("sc:a", 21), 42);
  assert.equal(await client.double("sc:a", 4), 8);
  assert.deepEqual(await client.multi().double("sc:a", 5).get("sc:a").exec(), [10, "10"]);
  const three = "redis.setresp(3) return {true, {double = 1.5}, {map = {a = 1}}}";
  const [yes, half, map] = await client.eval(three);
  assert.deepEqual([yes, half, map.a], [true, 1.5, 1]);
  client.destroy();
}

async function functions() {
  const client = await open();
  const library = `#!lua name=apps_node_redis
    server.register_function{function_name='apps_seen', callback=function(keys, args)
      return server.call('SADD', keys[1], unpack(args))
    end}
    server.register_function{function_name='apps_count', flags={'no-writes'}, callback=function(keys)
      return server.call('SCARD', keys[1])
    end}`;
  assert.equal(await client.functionLoad(library, { REPLACE: true }), "apps_node_redis");
  assert.equal(await client.fCall("apps_seen", { keys: ["fn:s"], arguments: ["a", "b"] }), 2);
  assert.equal(await client.fCallRo("apps_count", { keys: ["fn:s"] }), 2);
  await assert.rejects(client.fCallRo("apps_seen", { keys: ["fn:s"], arguments: ["c"] }), /Can not execute a script with write flag/);
  const [found] = await client.functionList({ LIBRARYNAME: "apps_node_redis" });
  assert.equal(found.functions.length, 2);
  await client.functionDelete("apps_node_redis");
  client.destroy();
}

async function pool() {
  const clients = createClientPool({ url }, { maximum: 5 });
  await clients.connect();
  await Promise.all(Array.from({ length: 200 }, (_, i) => clients.set(`pool:${i}`, String(i))));
  assert.deepEqual(await clients.mGet(["pool:0", "pool:199", "pool:none"]), ["0", "199", null]);
  const raised = async () => clients.execute(async (one) => {
    for (;;) {
      await one.watch("pool:n");
      const now = Number(await one.get("pool:n"));
      try {
        return await one.multi().set("pool:n", String(now + 1)).exec();
      } catch (error) {
        if (!(error instanceof WatchError)) throw error;
      }
    }
  });
  await Promise.all(Array.from({ length: 20 }, raised));
  assert.equal(await clients.get("pool:n"), "20");
  clients.destroy();
}

async function pushed() {
  const listener = await open({ RESP: 3 });
  const speaker = await open({ RESP: 3 });
  const heard = new Tally();
  await listener.subscribe("pushed", (text) => heard.add(text));
  assert.equal(await speaker.publish("pushed", "one"), 1);
  await heard.reach(1);
  assert.equal(await listener.ping(), "PONG"); // a subscriber of RESP3 may go on with commands
  await listener.unsubscribe("pushed");
  assert.equal(await speaker.publish("pushed", "two"), 0);
  listener.destroy();
  speaker.destroy();
}

async function iterators() {
  const client = await open();
  await Promise.all(Array.from({ length: 300 }, (_, i) => client.zAdd("it:z", { score: i, value: `m${i}` })));
  let count = 0;
  for await (const members of client.zScanIterator("it:z", { COUNT: 50 })) count += members.length;
  assert.equal(count, 300);
  assert.deepEqual(await client.zRangeWithScores("it:z", 298, -1), [{ value: "m298", score: 298 }, { value: "m299", score: 299 }]);
  const id = await client.xAdd("it:x", "*", { a: "1" });
  const [{ messages }] = await within(client.xRead({ key: "it:x", id: "0" }, { BLOCK: 1000 }));
  assert.deepEqual([messages[0].id, messages[0].message.a], [id, "1"]);
  client.destroy();
}

await scenarios({ cached, scripts, functions, pool, pushed, iterators });
