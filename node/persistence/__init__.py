"""The snapshot that walks a live keyspace slot by slot; RDB files and the AOF join it later.

Imports the data and execution floors; replication and the edge import it.
"""
