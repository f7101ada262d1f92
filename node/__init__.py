"""A node: one process that holds one shard's data, as primary or replica.

Floors, upwards: data (keyspace, types, expire, eviction, acl, pubsub, blocking, gate, stats, errors, ports), execution
(session, engine, commands, dispatch), services (persistence, replication, implementing `node.ports`), edge (server,
lifecycle, __main__; the only ones that know trio). Imports go down only. May import `cluster`; nobody imports `node`.
"""
