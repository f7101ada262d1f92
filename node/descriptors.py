"""File descriptors: every client takes one, so maxclients can't be more than the system allows this process."""

import resource
from typing import Final

RESERVED: Final = 32  # for listeners, files, links to other nodes; as Valkey's CONFIG_MIN_RESERVED_FDS


def room_for(clients: int) -> int:
    """Raise the limit on open files so that `clients` fit, as far as the system lets us; returns how many then do."""
    wanted = clients + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return clients
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
        except (ValueError, OSError):
            continue  # only root may raise the hard limit
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(clients, soft - RESERVED), 1)
