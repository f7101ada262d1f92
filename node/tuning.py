"""Carries the encoding limits of the settings to where the types read them, at the start and after each change."""

from node.settings import Settings
from node.types import hash as hashes
from node.types import listnode, stream, zset
from node.types import set as sets


def tune(settings: Settings) -> None:
    """Values that exist keep their encoding until they change, as in Valkey."""
    hashes.LIMITS.entries = settings.hash_max_listpack_entries
    hashes.LIMITS.value = settings.hash_max_listpack_value
    sets.LIMITS.intset_entries = settings.set_max_intset_entries
    sets.LIMITS.listpack_entries = settings.set_max_listpack_entries
    sets.LIMITS.listpack_value = settings.set_max_listpack_value
    zset.LIMITS.entries = settings.zset_max_listpack_entries
    zset.LIMITS.value = settings.zset_max_listpack_value
    stream.LIMITS.bytes = settings.stream_node_max_bytes
    stream.LIMITS.entries = settings.stream_node_max_entries
    listnode.LIMITS.fill = settings.list_max_listpack_size
