"""Command handlers, one file a family. A handler is a plain function `(engine, session, args) -> None`.

Each file ends with its table `HANDLERS`, keyed by the catalog's name. Imports the data floor, the session and the
engine; only `node.dispatch` imports it.
"""
