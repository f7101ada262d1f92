"""Replication: the stream that a primary writes and its replicas apply, in Valkey's own protocol (PSYNC).

`backlog` and `journal` hold the stream, `primary` serves replicas, `link` follows a primary, `manager` is the role.
Implements `node.ports`; imports the floors below and `node.persistence`; the edge imports it.
"""
