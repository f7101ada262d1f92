// BullMQ's sender or worker for tests/system/test_queues.py: `send COUNT` or `work`. Every run of a job is a line in the
// file $KVORUM_RUNS: its number and the monotonic ns.
import { Queue, Worker } from "bullmq";
import { closeSync, openSync, writeSync } from "node:fs";

const { hostname, port } = new URL(process.env.KVORUM_URL);
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null, retryStrategy: () => 50 };

if (process.argv[2] === "work") {
  const runs = openSync(process.env.KVORUM_RUNS, "a", 0o600);
  const worker = new Worker("square", async (job) => {
    writeSync(runs, `${job.data.number} ${process.hrtime.bigint()}\n`);
    return job.data.number * job.data.number;
  }, { connection, concurrency: 4, stalledInterval: 1000, lockDuration: 5000, maxStalledCount: 10 });
  worker.on("error", (error) => console.error(String(error)));
  process.on("SIGTERM", async () => {
    await worker.close();
    closeSync(runs);
    process.exit(0);
  });
} else {
  const queue = new Queue("square", { connection });
  queue.on("error", (error) => console.error(String(error)));
  for (let number = 0; number < Number(process.argv[3]); number++) {
    await queue.add("square", { number }, { jobId: `n-${number}` }); // by its own ID it may be sent twice
  }
  await queue.close();
}
