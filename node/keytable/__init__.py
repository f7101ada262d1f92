"""The compact key table: an extension in C and Cython, built where a compiler is, and its place in memory.

It knows slots, bytes and references; `node.compact` makes a Store of the table, `node.types.leaf` gives its leaves to
big collections, and nothing else may import it. Without the extension the node runs on `node.store` and plain leaves.
"""
