// Runs the scenarios of an application side by side and prints what became of each: "ok", or its error.
import { EventEmitter } from "node:events";

const PATIENCE = 60_000;

export const url = process.argv[2];

/** Host, port and options as ioredis wants them. */
export function address() {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port), maxRetriesPerRequest: null };
}

export function within(promise, what = "it") {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come in time`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Counts what happens, and lets one wait for a number of it. */
export class Tally extends EventEmitter {
  seen = [];

  add(item) {
    this.seen.push(item);
    this.emit("more");
  }

  async reach(count) {
    while (this.seen.length < count) {
      await within(new Promise((resolve) => this.once("more", resolve)), `${count} (came: ${JSON.stringify(this.seen)})`);
    }
    return this.seen;
  }
}

export async function scenarios(all) {
  const chosen = process.argv.length > 3 ? process.argv.slice(3) : Object.keys(all);
  const outcome = {};
  await Promise.all(
    chosen.map(async (name) => {
      try {
        await within(all[name](), name);
        outcome[name] = "ok";
      } catch (error) {
        outcome[name] = String(error.stack ?? error);
      }
    }),
  );
  process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0));
}
