// What every JavaScript client does here: fill and read back, then write on while a primary dies.
//
// `clients` is one connected cluster client's {set, get, close}. The test talks over standard input and output, a JSON line
// each: {"filled": n} once all keys were read back, and after "stop" {"accepted", "failed", "gap_ms", "lost"}.
import { createInterface } from 'node:readline'

export async function endure(client, keys, tag) {
  const batch = 200
  for (let first = 0; first < keys; first += batch) {
    await Promise.all(Array.from({ length: batch }, (_, i) => client.set(`key:${first + i}`, `value:${first + i}`)))
  }
  let right = 0
  for (let first = 0; first < keys; first += batch) {
    const values = await Promise.all(Array.from({ length: batch }, (_, i) => client.get(`key:${first + i}`)))
    right += values.filter((value, i) => value === `value:${first + i}`).length
  }
  let going = true
  createInterface({ input: process.stdin }).on('line', () => { going = false })
  console.log(JSON.stringify({ filled: right }))

  let accepted = 0, failed = 0, gap = 0, last = performance.now()
  const written = []
  while (going) {
    try {
      await client.set(`{${tag}}:${accepted}`, String(accepted))
      written.push(accepted)
      accepted += 1
      const now = performance.now()
      gap = Math.max(gap, now - last)
      last = now
    } catch (error) {
      failed += 1
      await new Promise((done) => setTimeout(done, 5))
    }
  }
  let lost = 0
  for (const number of written) {
    if (await client.get(`{${tag}}:${number}`) !== String(number)) lost += 1
  }
  console.log(JSON.stringify({ accepted, failed, gap_ms: Math.round(gap), lost }))
  await client.close()
}
