"""The values that a key can hold: native classes that keep small collections as genuine listpack or intset bytes.

Pure data: no clock, no sockets, no sessions. Imports only leaf modules of the data floor (`node.numbers`) and
`cluster`. The keyspace, the commands, persistence and replication import it.
"""
