"""What a node keeps on disk: the snapshot that walks a live keyspace slot by slot, RDB files and the append-only file,
which are written from it, and their loading at the start.

Imports the data and execution floors; replication and the edge import it.
"""
