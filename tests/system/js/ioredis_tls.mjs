// ioredis at the external endpoint, certificate verified. Arguments: url, CA file. Prints one JSON line.
import { readFileSync } from 'node:fs'
import Redis from 'ioredis'

const [url, authority] = process.argv.slice(2)
const redis = new Redis(url, { tls: { ca: readFileSync(authority) }, retryStrategy: null, maxRetriesPerRequest: 0 })
redis.on('error', () => {})
try {
  await redis.set('from:ioredis', 'over TLS')
  console.log(JSON.stringify({ value: await redis.get('from:ioredis'), authorized: redis.stream.authorized }))
} catch (error) {
  console.log(JSON.stringify({ error: error.message }))
}
process.exit(0)
