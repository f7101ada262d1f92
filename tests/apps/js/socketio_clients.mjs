// Clients of two Socket.IO servers that hear each other through the adapter.
import assert from "node:assert/strict";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { io } from "socket.io-client";
import { scenarios, Tally, url, within } from "./harness.mjs";

const [kind, ...ports] = process.argv.splice(3, 3);

/** A client of the first or second server, with what it was told. */
async function join(server, ...rooms) {
  const socket = io(`http://127.0.0.1:${ports[server]}`, { transports: ["websocket"], forceNew: true, reconnectionDelay: 20 });
  const told = new Tally();
  socket.on("told", (text) => told.add(text));
  socket.on("question", (n, answer) => answer(n * (server + 1)));
  await within(new Promise((resolve) => socket.once("connect", resolve)), "connect");
  for (const room of rooms) await socket.emitWithAck("join", room);
  return { socket, told, close: () => socket.disconnect() };
}

async function waitForBoth() {
  const { socket, close } = await join(0);
  const other = await join(1);
  while ((await socket.emitWithAck("servers")) < 2 || (await other.socket.emitWithAck("servers")) < 2);
  close();
  other.close();
}

async function rooms() {
  const [a, b, c] = [await join(0, "r:x"), await join(1, "r:x"), await join(1, "r:y")];
  a.socket.emit("to", "r:x", "for x");
  b.socket.emit("to", "r:y", "for y");
  a.socket.emit("to", ["r:x", "r:y"], "for both");
  await Promise.all([a.told.reach(2), b.told.reach(2), c.told.reach(2)]);
  assert.deepEqual([a, b, c].map((one) => [...one.told.seen].sort()), [["for both", "for x"], ["for both", "for x"], ["for both", "for y"]]);
  a.socket.emit("but me", "r:x", "others");
  assert.equal((await b.told.reach(3))[2], "others");
  assert.equal(a.told.seen.length, 2);
  [a, b, c].forEach((one) => one.close());
}

async function order() {
  const [a, b] = [await join(0), await join(1, "o:x")];
  for (let i = 0; i < 500; i++) a.socket.emit("to", "o:x", i);
  assert.deepEqual(await b.told.reach(500), Array.from({ length: 500 }, (_, i) => i));
  a.close();
  b.close();
}

async function binary() {
  const [a, b] = [await join(0), await join(1, "b:x")];
  const bytes = Buffer.from([0, 255, 13, 10, 128]);
  a.socket.emit("bytes", "b:x", bytes);
  const [got] = await b.told.reach(1);
  assert.deepEqual([Buffer.from(got.bytes), got.n], [bytes, 1.5]);
  a.close();
  b.close();
}

async function fetched() {
  const [a, b] = [await join(0, "f:x"), await join(1, "f:x")];
  await b.socket.emitWithAck("i am", "bertha");
  const found = Object.fromEntries(await a.socket.emitWithAck("all rooms", "f:x"));
  assert.deepEqual(found, { [a.socket.id]: null, [b.socket.id]: "bertha" });
  a.close();
  b.close();
}

async function moved() {
  const [a, b] = [await join(0, "m:x"), await join(1, "m:x")];
  const other = async () => (await a.socket.emitWithAck("all rooms", "m:y")).length;
  a.socket.emit("bring", "m:x", "m:y");
  while ((await other()) !== 2);
  b.socket.emit("leave", "m:x", "m:y");
  while ((await other()) !== 0);
  const gone = new Promise((resolve) => b.socket.once("disconnect", resolve));
  const goneToo = new Promise((resolve) => a.socket.once("disconnect", resolve));
  a.socket.emit("kick", "m:x");
  assert.deepEqual(await within(Promise.all([gone, goneToo])), ["io server disconnect", "io server disconnect"]);
}

async function acknowledged() {
  const [a, b, c] = [await join(0, "k:x"), await join(1, "k:x"), await join(1, "k:x")];
  assert.deepEqual(await a.socket.emitWithAck("ask", "k:x"), [2, 4, 4]);
  assert.deepEqual(await a.socket.emitWithAck("ask servers", "hi"), ["second heard hi"]);
  assert.deepEqual(await b.socket.emitWithAck("ask servers", "ho"), ["first heard ho"]);
  [a, b, c].forEach((one) => one.close());
}

async function emitter() {
  // A third process that serves nobody tells the rooms of both servers.
  const [a, b] = [await join(0, "e:x"), await join(1, "e:x")];
  const client = await createClient({ url }).connect();
  const outside = new Emitter(client);
  outside.to("e:x").emit("told", "from outside");
  await Promise.all([a.told.reach(1), b.told.reach(1)]);
  assert.deepEqual([a.told.seen, b.told.seen], [["from outside"], ["from outside"]]);
  await client.close();
  a.close();
  b.close();
}

async function recovered() {
  // A client that loses its line gets its rooms back, and what was told meanwhile, from the other server's stream.
  // It comes back once its server has read the stream so far: what it reads later would be told a second time.
  const [a, b, witness] = [await join(0), await join(1, "v:x"), await join(1, "v:x")];
  a.socket.emit("to", "v:x", "before");
  await Promise.all([b.told.reach(1), witness.told.reach(1)]);
  const id = b.socket.id;
  const back = new Promise((resolve) => b.socket.once("connect", resolve));
  b.socket.io.reconnection(false);
  b.socket.io.engine.close();
  a.socket.emit("to", "v:x", "meanwhile");
  await witness.told.reach(2);
  b.socket.connect();
  await within(back, "reconnection");
  assert.deepEqual([b.socket.recovered, b.socket.id], [true, id]);
  a.socket.emit("to", "v:x", "after");
  assert.deepEqual(await b.told.reach(3), ["before", "meanwhile", "after"]);
  [a, b, witness].forEach((one) => one.close());
}

await within(waitForBoth(), "both servers");
await scenarios({
  rooms, order, binary, fetched, moved, acknowledged,
  ...(kind === "pubsub" ? { emitter } : {}), ...(kind === "streams" ? { recovered } : {}),
});
