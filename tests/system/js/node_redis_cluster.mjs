// node-redis in cluster mode. Arguments: host:port,host:port,… number-of-keys tag
import { createCluster } from 'redis'
import { endure } from './endurance.mjs'

const [nodes, keys, tag] = process.argv.slice(2)
const cluster = createCluster({ rootNodes: nodes.split(',').map((at) => ({ url: `redis://${at}` })) })
cluster.on('error', () => {})
cluster.on('node-error', () => {})
await cluster.connect()
await endure({
  set: (key, value) => cluster.set(key, value),
  get: (key) => cluster.get(key),
  close: () => cluster.close(),
}, Number(keys), tag)
process.exit(0)
