// One of several Socket.IO servers behind one adapter. Prints its port; clients tell it what to do.
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createServer } from "node:http";
import { createClient } from "redis";
import { Server } from "socket.io";

const [url, kind, name] = process.argv.slice(2);
const open = () => createClient({ url }).connect();
const subscriber = await open();

const adapters = {
  pubsub: async () => createAdapter(await open(), subscriber),
  sharded: async () => createShardedAdapter(await open(), subscriber),
  streams: async () => createStreamsAdapter(await open(), { streamName: "sio-stream", heartbeatInterval: 1000 }),
};

const http = createServer();
const io = new Server(http, {
  adapter: await adapters[kind](),
  connectionStateRecovery: kind === "streams" ? { maxDisconnectionDuration: 60_000, skipMiddlewares: true } : undefined,
});

io.on("server hello", (text, answer) => answer(`${name} heard ${text}`));
io.on("connection", (socket) => {
  socket.on("servers", async (answer) => answer(await io.of("/").adapter.serverCount()));
  socket.on("join", async (room, answer) => {
    await socket.join(room);
    await subscriber.ping(); // the sharded adapter has just subscribed to the room's channel, on this connection
    answer();
  });
  socket.on("to", (room, text) => io.to(room).emit("told", text));
  socket.on("but me", (room, text) => socket.to(room).emit("told", text));
  socket.on("except", (room, text) => io.except(room).emit("told", text));
  socket.on("bytes", (room, bytes) => io.to(room).emit("told", { bytes, n: 1.5 }));
  socket.on("all rooms", async (room, answer) => answer((await io.in(room).fetchSockets()).map((one) => [one.id, one.data.who ?? null])));
  socket.on("i am", (who, answer) => answer((socket.data.who = who)));
  socket.on("bring", (room, other) => io.in(room).socketsJoin(other));
  socket.on("leave", (room, other) => io.in(room).socketsLeave(other));
  socket.on("kick", (room) => io.in(room).disconnectSockets(true));
  socket.on("ask", async (room, answer) => answer((await io.to(room).timeout(10_000).emitWithAck("question", 2)).sort()));
  socket.on("ask servers", async (text, answer) => answer(await io.serverSideEmitWithAck("server hello", text)));
});

http.listen(0, "127.0.0.1", () => process.stdout.write(`${JSON.stringify({ port: http.address().port })}\n`));
process.on("SIGTERM", () => process.exit(0));
