"""RESP, sans-IO: bytes in, values out. Requests (bounded decoding), replies (RESP2 and RESP3 encoding).

Imports nothing of the project; everything may import it. Replies are decoded by hiredis in `cluster.link`.
"""
