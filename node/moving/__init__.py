"""Moving data into a service: from a live server (`kvorum fork`) or from files (`kvorum import`).

A process of its own, `python -m node.moving`, which serves nobody: hostile files and servers meet no node. It may
import `cluster` and the node's data and persistence storeys; nothing imports it, the command line starts it by name.

The target's nodes are in import mode meanwhile and see the mover as the source of the import: the source alone decides
what has expired, so a key whose life was prolonged there is not lost here because its old time ran out under way. That
is why the mover talks to the primaries themselves and not to the proxy, whose connections many clients share.
"""
