// An Express application whose sessions are kept by connect-redis. Prints its port; SIGTERM ends it.
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

const client = await createClient({ url: process.argv[2] }).connect();
const store = new RedisStore({ client, prefix: "web:", ttl: 3600 });
const app = express();

app.use(express.json());
app.use(session({ store, secret: process.env.WEB_SECRET, name: "sid", resave: false, saveUninitialized: false }));

app.post("/login", (request, response, next) => {
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.user = request.body.user;
    request.session.visits = 0;
    return response.json({ id: request.sessionID });
  });
});
app.get("/visit", (request, response) => {
  if (!request.session.user) return response.status(401).json({ error: "log in first" });
  request.session.visits += 1;
  return response.json({ user: request.session.user, visits: request.session.visits });
});
app.get("/look", (request, response) => response.json({ user: request.session.user ?? null }));
app.post("/logout", (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.json({ bye: true })));
});
app.get("/sessions", (request, response, next) => {
  store.all((error, all) => {
    if (error) return next(error);
    return store.length((wrong, length) => (wrong ? next(wrong) : response.json({ length, users: all.map((one) => one.user).sort() })));
  });
});
app.post("/clear", (request, response, next) => store.clear((error) => (error ? next(error) : response.json({}))));

const server = app.listen(0, "127.0.0.1", () => process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`));
process.on("SIGTERM", () => process.exit(0));
