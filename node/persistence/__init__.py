"""Datasets as bytes: the genuine RDB format, and the snapshot that walks a live keyspace slot by slot.

Imports the data and execution floors; replication and the edge import it.
"""
