"""Access control: who the users are, what their rules allow, and what was refused.

Pure: no clock, no sockets, no engine; moments and file texts are arguments. `selector` holds one set of permissions,
`user` a name with passwords and selectors, `check` judges a command, `log` keeps refusals, `registry` all users.
Stands on the catalog and the matching of patterns; sessions, the engine and everything above may import it.
"""

from node.acl.registry import Acl, AclFileError
from node.acl.selector import RuleError
from node.acl.user import DEFAULT, User

__all__ = ["DEFAULT", "Acl", "AclFileError", "RuleError", "User"]
