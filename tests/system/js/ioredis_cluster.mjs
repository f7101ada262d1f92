// ioredis in cluster mode. Arguments: host:port,host:port,… number-of-keys tag
import Redis from 'ioredis'
import { endure } from './endurance.mjs'

const [nodes, keys, tag] = process.argv.slice(2)
const cluster = new Redis.Cluster(nodes.split(',').map((at) => {
  const [host, port] = at.split(':')
  return { host, port: Number(port) }
}))
cluster.on('error', () => {})
await endure({
  set: (key, value) => cluster.set(key, value),
  get: (key) => cluster.get(key),
  close: () => cluster.quit(),
}, Number(keys), tag)
process.exit(0)
