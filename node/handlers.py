"""Every handler of this node by its catalog name: the tables of all families in one."""

import importlib
import pkgutil

import node.commands
from node.engine import Handler

HANDLERS: dict[bytes, Handler] = {}
for _m in pkgutil.iter_modules(node.commands.__path__):
    try:
        HANDLERS.update(getattr(importlib.import_module("node.commands." + _m.name), "HANDLERS", {}))
    except ImportError as e:
        print("MISSING", _m.name, e)
