// BullMQ: what its queues, workers, flows and events promise.
import assert from "node:assert/strict";
import { DelayedError, FlowProducer, Queue, QueueEvents, RateLimitError, UnrecoverableError, WaitingChildrenError, Worker } from "bullmq";
import { address, scenarios, Tally } from "./harness.mjs";

const connection = address();

/** A queue with its events, and a worker when there is a processor. All are closed by `close`. */
async function open(name, processor, options = {}) {
  const queue = new Queue(name, { connection });
  const events = new QueueEvents(name, { connection, lastEventId: "0" }); // of those before it listens, too
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
  const worker = processor && new Worker(name, processor, { connection, ...options });
  if (worker) await worker.waitUntilReady();
  const close = async () => {
    if (worker) await worker.close();
    await Promise.all([queue.close(), events.close()]);
  };
  return { queue, events, worker, close };
}

async function add() {
  const { queue, events, close } = await open("add", async (job) => {
    await job.updateProgress(50);
    await job.log(`adding ${job.data.a}`);
    return job.data.a + job.data.b;
  }, { concurrency: 5 });
  const progress = new Tally();
  events.on("progress", ({ jobId }) => progress.add(jobId));
  const single = await queue.add("sum", { a: 2, b: 3 }, { jobId: "own-id" });
  assert.equal(await single.waitUntilFinished(events), 5);
  const jobs = await queue.addBulk(Array.from({ length: 50 }, (_, i) => ({ name: "sum", data: { a: i, b: i, text: "é☃" } })));
  const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events)));
  assert.deepEqual(results, Array.from({ length: 50 }, (_, i) => 2 * i));
  await progress.reach(51);
  assert.equal((await queue.add("sum", { a: 7, b: 7 }, { jobId: "own-id" })).id, "own-id"); // is there already
  const found = await queue.getJob("own-id");
  assert.equal(found.returnvalue, 5);
  assert.equal(found.progress, 50);
  assert.deepEqual((await queue.getJobLogs("own-id")).logs, ["adding 2"]);
  assert.deepEqual(await queue.getJobCounts("completed", "failed", "waiting"), { completed: 51, failed: 0, waiting: 0 });
  const seventh = await queue.getJob(jobs[7].id);
  assert.deepEqual(seventh.data, { a: 7, b: 7, text: "é☃" });
  assert.equal((await queue.clean(0, 20, "completed")).length, 20);
  assert.equal(await queue.getCompletedCount(), 31);
  await close();
}

async function delay() {
  const { queue, events, close } = await open("delay", async () => Date.now());
  const began = Date.now();
  const late = await queue.add("late", {}, { delay: 3000 });  // long after the other, on a busy machine too
  const soon = await queue.add("soon", {}, { delay: 200 });
  const never = await queue.add("never", {}, { delay: 3_600_000 });
  assert.equal(await never.getState(), "delayed");
  assert.ok((await queue.getDelayed()).some((job) => job.id === never.id));
  const [soonAt, lateAt] = await Promise.all([soon.waitUntilFinished(events), late.waitUntilFinished(events)]);
  assert.ok(soonAt - began >= 200 && lateAt - began >= 3000 && soonAt < lateAt, `${soonAt - began} ${lateAt - began}`);
  await never.promote();
  await never.waitUntilFinished(events);
  await close();
}

async function postpone() {
  const moves = [];
  const { queue, events, close } = await open("postpone", async (job, token) => {
    moves.push(job.attemptsStarted);
    if (moves.length === 1) {
      await job.moveToDelayed(Date.now() + 100, token);
      throw new DelayedError();
    }
    return "second";
  });
  const job = await queue.add("again", {});
  assert.equal(await job.waitUntilFinished(events), "second");
  assert.equal(moves.length, 2);
  await close();
}

async function repeat() {
  const times = new Tally();
  const { queue, close } = await open("repeat", async (job) => times.add([job.name, job.data.n]));
  await queue.upsertJobScheduler("often", { every: 150 }, { name: "tick", data: { n: 1 } });
  await times.reach(3);
  await queue.upsertJobScheduler("often", { every: 100 }, { name: "tock", data: { n: 2 } });
  while (times.seen.at(-1)[0] !== "tock") await times.reach(times.seen.length + 1);
  await queue.upsertJobScheduler("nightly", { pattern: "0 0 3 * * *", tz: "UTC" }, { name: "report", data: {} });
  const known = await queue.getJobSchedulers(0, -1, true);
  assert.deepEqual(known.map((one) => one.key).sort(), ["nightly", "often"]);
  const nightly = await queue.getJobScheduler("nightly");
  assert.equal(new Date(nightly.next).getUTCHours(), 3);
  assert.equal(await queue.removeJobScheduler("often"), true);
  assert.equal(await queue.removeJobScheduler("often"), false);
  assert.equal(await queue.getJobSchedulersCount(), 1);
  await close();
}

async function flows() {
  const ran = [];
  const { queue, events, close } = await open("flows", async (job) => {
    ran.push(job.name);
    if (job.name === "parent") return Object.values(await job.getChildrenValues()).sort();
    return job.name;
  }, { concurrency: 3 });
  const producer = new FlowProducer({ connection });
  const tree = await producer.add({
    name: "parent", queueName: "flows", data: {},
    children: [
      { name: "left", queueName: "flows", data: {}, children: [{ name: "leaf", queueName: "flows", data: {} }] },
      { name: "right", queueName: "flows", data: {} },
    ],
  });
  assert.deepEqual(await tree.job.waitUntilFinished(events), ["left", "right"]);
  assert.equal(ran.length, 4);
  assert.ok(ran.indexOf("leaf") < ran.indexOf("left") && ran.at(-1) === "parent", ran.join());
  assert.deepEqual(await tree.job.getDependenciesCount(), { processed: 2, unprocessed: 0, failed: 0, ignored: 0 });
  const whole = await producer.getFlow({ id: tree.job.id, queueName: "flows" });
  assert.equal(whole.children.length, 2);
  await producer.close();
  await queue.obliterate({ force: true });
  await close();
}

async function grown() {
  // A parent that adds its children while it runs, and waits for them.
  const { queue, events, close } = await open("grown", async (job, token) => {
    if (job.name !== "parent") return job.name;
    if (job.data.step !== "wait") {
      for (const name of ["one", "two"]) {
        await queue.add(name, {}, { parent: { id: job.id, queue: job.queueQualifiedName } });
      }
      await job.updateData({ step: "wait" });
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    }
    return Object.values(await job.getChildrenValues()).sort();
  }, { concurrency: 2 });
  const job = await queue.add("parent", {});
  assert.deepEqual(await job.waitUntilFinished(events), ["one", "two"]);
  await close();
}

async function failedChild() {
  const { queue, events, close } = await open("failed-child", async (job) => {
    if (job.name === "child") throw new Error("broken child");
  });
  const producer = new FlowProducer({ connection });
  const tree = await producer.add({
    name: "parent", queueName: "failed-child", data: {},
    children: [{ name: "child", queueName: "failed-child", data: {}, opts: { failParentOnFailure: true } }],
  });
  await assert.rejects(tree.job.waitUntilFinished(events), /failed/);
  assert.equal(await tree.job.getState(), "failed");
  await producer.close();
  await close();
}

async function rateLimit() {
  const times = new Tally();
  const { queue, worker, close } = await open("rate", async () => times.add(Date.now()), { limiter: { max: 2, duration: 300 }, concurrency: 10 });
  const began = Date.now();
  await queue.addBulk(Array.from({ length: 6 }, () => ({ name: "limited", data: {} })));
  const seen = await times.reach(6);
  assert.ok(seen[5] - began >= 590, `six jobs at two in 300 ms took ${seen[5] - began} ms`);
  await worker.close();
  await close();
}

async function rateLimitByHand() {
  const times = new Tally();
  const opened = await open("rate-by-hand", async () => {
    times.add(Date.now());
    if (times.seen.length === 1) {
      await opened.queue.rateLimit(300);
      throw new RateLimitError();
    }
  });
  const job = await opened.queue.add("busy elsewhere", {});
  await job.waitUntilFinished(opened.events);
  assert.ok(times.seen[1] - times.seen[0] >= 290, String(times.seen));
  await opened.close();
}

async function stalled() {
  const queue = new Queue("stalled", { connection });
  const dying = new Worker("stalled", null, { connection, lockDuration: 300 });
  await queue.add("left behind", { n: 1 });
  const taken = await dying.getNextJob("its-token");
  assert.equal(taken.name, "left behind");
  await dying.close(true); // it never says how the job ended, nor renews its lock
  const done = new Tally();
  const told = new Tally();
  const worker = new Worker("stalled", async (job) => job.data.n, { connection, stalledInterval: 200, lockDuration: 20_000, maxStalledCount: 1 });
  worker.on("stalled", (id) => told.add(id));
  worker.on("completed", (job) => done.add(job.id));
  assert.deepEqual(await done.reach(1), [taken.id]);
  assert.deepEqual(told.seen, [taken.id]);
  assert.equal((await queue.getJob(taken.id)).stalledCounter, 1);
  await worker.close();
  await queue.close();
}

async function retries() {
  const attempts = [];
  const { queue, events, close } = await open("retries", async (job) => {
    attempts.push(Date.now());
    if (job.attemptsMade < 2) throw new Error(`attempt ${job.attemptsMade}`);
    return "at last";
  });
  const job = await queue.add("flaky", {}, { attempts: 3, backoff: { type: "exponential", delay: 100 } });
  assert.equal(await job.waitUntilFinished(events), "at last");
  assert.equal(attempts.length, 3);
  assert.ok(attempts[1] - attempts[0] >= 95 && attempts[2] - attempts[1] >= 195, String(attempts));
  assert.equal((await queue.getJob(job.id)).stacktrace.length, 2);
  await close();
}

async function failures() {
  const { queue, events, close } = await open("failures", async (job) => {
    if (job.data.fatal) throw new UnrecoverableError("never again");
    if (job.data.fails) throw new Error("not this time");
    return "repaired";
  });
  const fatal = await queue.add("fatal", { fatal: true }, { attempts: 5 });
  await assert.rejects(fatal.waitUntilFinished(events), /never again/);
  assert.equal((await queue.getJob(fatal.id)).attemptsMade, 1);
  const job = await queue.add("fails", { fails: true });
  await assert.rejects(job.waitUntilFinished(events), /not this time/);
  assert.deepEqual((await queue.getFailed()).map((one) => one.name).sort(), ["fails", "fatal"]);
  const failed = await queue.getJob(job.id);
  await failed.updateData({ fails: false });
  await failed.retry("failed");
  assert.equal(await failed.waitUntilFinished(events), "repaired");
  await close();
}

async function priorities() {
  const order = new Tally();
  const { queue, close } = await open("priorities");
  for (const [name, priority] of [["low", 100], ["high", 1], ["middle", 10], ["second high", 1]]) {
    await queue.add(name, {}, { priority });
  }
  await queue.add("unranked", {});
  assert.deepEqual(await queue.getCountsPerPriority([0, 1, 10, 100]), { 0: 1, 1: 2, 10: 1, 100: 1 });
  const worker = new Worker("priorities", async (job) => order.add(job.name), { connection });
  assert.deepEqual(await order.reach(5), ["unranked", "high", "second high", "middle", "low"]);
  await worker.close();
  await close();
}

async function lifo() {
  const order = new Tally();
  const { queue, close } = await open("lifo");
  for (const name of ["a", "b", "c"]) await queue.add(name, {}, { lifo: true });
  const worker = new Worker("lifo", async (job) => order.add(job.name), { connection });
  assert.deepEqual(await order.reach(3), ["c", "b", "a"]);
  await worker.close();
  await close();
}

async function pause() {
  const order = new Tally();
  const { queue, close } = await open("pause", async (job) => order.add(job.name));
  await queue.pause();
  assert.equal(await queue.isPaused(), true);
  await queue.add("waits", {});
  const counts = await queue.getJobCounts("paused", "waiting");
  assert.equal(counts.paused + counts.waiting, 1);
  assert.equal(order.seen.length, 0);
  await queue.resume();
  await order.reach(1);
  await queue.drain(true);
  await close();
}

async function deduplicate() {
  const { queue, close } = await open("once");
  const first = await queue.add("x", { n: 1 }, { deduplication: { id: "same", ttl: 60_000 } });
  const second = await queue.add("x", { n: 2 }, { deduplication: { id: "same", ttl: 60_000 } });
  assert.equal(first.id, second.id);
  assert.equal(await queue.getWaitingCount(), 1);
  await queue.removeDeduplicationKey("same");
  await queue.add("x", { n: 3 }, { deduplication: { id: "same" } });
  assert.equal(await queue.getWaitingCount(), 2);
  await close();
}

async function events() {
  const { queue, events: stream, close } = await open("events", async (job) => {
    if (job.name === "bad") throw new Error("bad");
    return 1;
  });
  const seen = new Tally();
  for (const name of ["added", "waiting", "active", "completed", "failed", "drained", "removed"]) {
    stream.on(name, (told) => seen.add([name, told.jobId]));
  }
  const good = await queue.add("good", {});
  await good.waitUntilFinished(stream);
  const bad = await queue.add("bad", {});
  await assert.rejects(bad.waitUntilFinished(stream));
  await good.remove();
  while (!seen.seen.some(([name]) => name === "removed")) await seen.reach(seen.seen.length + 1);
  const of = (id) => seen.seen.filter(([, job]) => job === id).map(([name]) => name);
  assert.deepEqual(of(good.id), ["added", "waiting", "active", "completed", "removed"]);
  assert.deepEqual(of(bad.id), ["added", "waiting", "active", "failed"]);
  await queue.trimEvents(2);
  await close();
}

await scenarios({
  add, delay, postpone, repeat, flows, grown, failedChild, rateLimit, rateLimitByHand, stalled, retries, failures,
  priorities, lifo, pause, deduplicate, events,
});
