// ioredis: pipelines, transactions, scripts as commands, blocking pops, pub/sub, streams, scans and a lock.
import assert from "node:assert/strict";
import Redis from "ioredis";
import { address, scenarios, Tally } from "./harness.mjs";

const open = (options = {}) => new Redis({ ...address(), ...options });

async function pipeline() {
  const redis = open();
  const replies = await redis.pipeline().set("p:a", 1).incrby("p:a", 41).get("p:a").lpush("p:a", "x").hset("p:h", { f: "1", g: "é" }).hgetall("p:h").exec();
  assert.deepEqual(replies.slice(0, 3), [[null, "OK"], [null, 42], [null, "42"]]);
  assert.match(replies[3][0].message, /^WRONGTYPE/);
  assert.deepEqual(replies.slice(4), [[null, 2], [null, { f: "1", g: "é" }]]);
  const many = redis.pipeline();
  for (let i = 0; i < 5000; i++) many.set(`p:many:${i}`, i);
  assert.equal((await many.exec()).filter(([, reply]) => reply === "OK").length, 5000);
  redis.disconnect();
}

async function automatic() {
  const redis = open({ enableAutoPipelining: true });
  await Promise.all(Array.from({ length: 500 }, (_, i) => redis.set(`auto:${i}`, i)));
  const got = await Promise.all(Array.from({ length: 500 }, (_, i) => redis.get(`auto:${i}`)));
  assert.deepEqual(got, Array.from({ length: 500 }, (_, i) => String(i)));
  redis.disconnect();
}

async function transactions() {
  const redis = open();
  const other = open();
  assert.deepEqual(await redis.multi().set("t:a", 1).get("t:a").exec(), [[null, "OK"], [null, "1"]]);
  await redis.watch("t:a");
  await other.incr("t:a");
  assert.equal(await redis.multi().set("t:a", 100).exec(), null);
  await assert.rejects(redis.multi().set("t:a").exec(), /EXECABORT/);
  assert.equal(await redis.get("t:a"), "2");
  redis.disconnect();
  other.disconnect();
}

async function commands() {
  const redis = open({ scripts: { named: { lua: "return {KEYS[1], ARGV[1]}", numberOfKeys: 1, readOnly: true } } });
  redis.defineCommand("addCapped", {
    numberOfKeys: 1,
    lua: `
      local now = redis.call("INCRBY", KEYS[1], ARGV[1])
      if now > tonumber(ARGV[2]) then redis.call("SET", KEYS[1], ARGV[2]) return {ARGV[2], "capped"} end
      return {now, false}`,
  });
  assert.deepEqual(await redis.addCapped("c:a", 5, 7), [5, null]);
  assert.deepEqual(await redis.addCapped("c:a", 5, 7), ["7", "capped"]);
  assert.deepEqual(await redis.pipeline().addCapped("c:a", 0, 7).get("c:a").exec(), [[null, [7, null]], [null, "7"]]);
  assert.deepEqual(await redis.multi().addCapped("c:a", 1, 7).exec(), [[null, ["7", "capped"]]]);
  assert.deepEqual(await redis.named("k", "v"), ["k", "v"]);
  assert.deepEqual(await redis.namedBuffer("k", "v"), [Buffer.from("k"), Buffer.from("v")]);
  await redis.script("FLUSH"); // EVALSHA is told NOSCRIPT, and EVAL follows by itself
  assert.deepEqual(await redis.addCapped("c:b", 1, 7), [1, null]);
  await assert.rejects(redis.eval("return redis.call('LPUSH', KEYS[1], 'x')", 1, "c:a"), /WRONGTYPE/);
  redis.disconnect();
}

async function lock() {
  // The lock of the documentation: SET NX PX with a token, given back and renewed by scripts that look at the token.
  const redis = open();
  const held = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call";
  redis.defineCommand("unlock", { numberOfKeys: 1, lua: `${held}('DEL', KEYS[1]) end return 0` });
  redis.defineCommand("renew", { numberOfKeys: 1, lua: `${held}('PEXPIRE', KEYS[1], ARGV[2]) end return 0` });
  let inside = 0;
  let most = 0;
  let count = 0;
  await Promise.all(Array.from({ length: 8 }, async (_, worker) => {
    for (let turn = 0; turn < 5; turn++) {
      const token = `${worker}:${turn}`;
      while ((await redis.set("lock", token, "PX", 60_000, "NX")) !== "OK") await new Promise(setImmediate);
      most = Math.max(most, ++inside);
      assert.equal(await redis.renew("lock", token, 90_000), 1);
      assert.equal(await redis.renew("lock", "another", 90_000), 0);
      count++;
      inside--;
      assert.equal(await redis.unlock("lock", "another"), 0);
      assert.equal(await redis.unlock("lock", token), 1);
    }
  }));
  assert.deepEqual([most, count, await redis.exists("lock")], [1, 40, 0]);
  assert.equal(await redis.set("lock", "t", "PX", 50, "NX"), "OK");
  while ((await redis.set("lock", "next", "PX", 5000, "NX")) !== "OK") await new Promise(setImmediate); // it lapses
  redis.disconnect();
}

async function blocking() {
  const redis = open();
  const waiting = open();
  const popped = waiting.blpop("b:none", "b:list", 10);
  const moved = open();
  const move = moved.blmove("b:from", "b:to", "RIGHT", "LEFT", 10);
  await redis.rpush("b:list", "first");
  assert.deepEqual(await popped, ["b:list", "first"]);
  await redis.rpush("b:from", "m");
  assert.equal(await move, "m");
  assert.deepEqual(await redis.lrange("b:to", 0, -1), ["m"]);
  const smallest = waiting.bzpopmin("b:z", 10);
  await redis.zadd("b:z", 2, "two", 1, "one");
  assert.deepEqual(await smallest, ["b:z", "one", "1"]);
  assert.equal(await waiting.blpop("b:never", 0.05), null);
  for (const one of [redis, waiting, moved]) one.disconnect();
}

async function pubsub() {
  const redis = open();
  const listener = open();
  const heard = new Tally();
  listener.on("message", (channel, text) => heard.add([channel, text]));
  listener.on("pmessage", (pattern, channel, text) => heard.add([pattern, channel, text]));
  assert.equal(await listener.subscribe("news", "weather"), 2);
  assert.equal(await listener.psubscribe("n*"), 3);
  assert.equal(await redis.publish("news", "hello"), 2);
  assert.equal(await redis.publish("weather", "rain"), 1);
  assert.deepEqual(await heard.reach(3), [["news", "hello"], ["n*", "news", "hello"], ["weather", "rain"]]);
  assert.equal(await listener.unsubscribe("news", "weather"), 1);
  redis.disconnect();
  listener.disconnect();
}

async function streams() {
  const redis = open();
  const reader = open();
  await redis.xgroup("CREATE", "s:jobs", "workers", "$", "MKSTREAM");
  const asked = reader.xreadgroup("GROUP", "workers", "w1", "COUNT", 1, "BLOCK", 10_000, "STREAMS", "s:jobs", ">");
  const id = await redis.xadd("s:jobs", "MAXLEN", "~", 1000, "*", "task", "mail", "to", "é");
  assert.deepEqual(await asked, [["s:jobs", [[id, ["task", "mail", "to", "é"]]]]]);
  assert.deepEqual((await redis.xpending("s:jobs", "workers")).slice(0, 1), [1]);
  const [cursor, claimed] = await redis.xautoclaim("s:jobs", "workers", "w2", 0, "0");
  assert.deepEqual([cursor, claimed.map(([one]) => one)], ["0-0", [id]]);
  assert.equal(await redis.xack("s:jobs", "workers", id), 1);
  const ids = [];
  for (let i = 0; i < 200; i++) ids.push(await redis.xadd("s:log", "*", "i", i));
  assert.equal(await redis.xtrim("s:log", "MAXLEN", 100), 100);
  assert.deepEqual((await redis.xrange("s:log", ids[150], ids[151])).map(([, fields]) => fields[1]), ["150", "151"]);
  redis.disconnect();
  reader.disconnect();
}

async function scans() {
  const redis = open({ keyPrefix: "scan:" });
  const plain = open();
  await redis.mset(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, i])));
  const found = new Set();
  for await (const keys of plain.scanStream({ match: "scan:k*", count: 100 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 1000);
  await redis.hset("h", Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`f${i}`, "x".repeat(100)])));
  let fields = 0;
  for await (const part of redis.hscanStream("h")) fields += part.length / 2;
  assert.equal(fields, 600);
  assert.equal(await redis.unlink("h", "k1"), 2);
  redis.disconnect();
  plain.disconnect();
}

await scenarios({ pipeline, automatic, transactions, commands, lock, blocking, pubsub, streams, scans });
