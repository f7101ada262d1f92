"""Lua 5.1 for EVAL and FUNCTION: the sandbox, the cache of scripts, the libraries of functions, their way to commands.

Stands on the engine; imports `cluster` and the node's lower storeys, never a command: what a script calls goes through
`node.session.Executor.call_from_script`. Imported by `node.commands.scripts`, `node.commands.functions` and the edge.
"""
