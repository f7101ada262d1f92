"""Numbers of the RDB format that reach disk and wire: they may be added to, never changed (tests hold a golden table).

Source: Valkey's rdb.h. Version 11 is what Redis 7.2 and Valkey 8 write and read; 80, Valkey 9's, is written only where
something needs it: a hash with fields that expire.
"""

from typing import Final

MAGIC: Final = b"REDIS"
MAGIC_VALKEY: Final = b"VALKEY"
VERSION: Final = 11
VERSION_FIELDS: Final = 80
VERSION_OLD: Final = 10  # of Redis 7.0: no listpacks of sets, no time at which a consumer was active
VERSION_REDIS: Final = 12  # the highest of files with the magic REDIS that is read: Redis 7.4
VERSIONS_VALKEY: Final = (80, 89)  # of files with the magic VALKEY
VERSION_CHECKSUM: Final = 5  # from here on a checksum follows the end

# --- value types
STRING: Final = 0
LIST: Final = 1
SET: Final = 2
ZSET: Final = 3  # scores as text
HASH: Final = 4
ZSET_2: Final = 5  # scores as binary doubles
MODULE: Final = 6  # of a release candidate
MODULE_2: Final = 7
HASH_ZIPMAP: Final = 9
LIST_ZIPLIST: Final = 10
SET_INTSET: Final = 11
ZSET_ZIPLIST: Final = 12
HASH_ZIPLIST: Final = 13
LIST_QUICKLIST: Final = 14
STREAM: Final = 15
HASH_LISTPACK: Final = 16
ZSET_LISTPACK: Final = 17
LIST_QUICKLIST_2: Final = 18
STREAM_2: Final = 19  # with counters of what was added and read
SET_LISTPACK: Final = 20
STREAM_3: Final = 21  # with the time at which a consumer was active
HASH_2: Final = 22  # field, value, Unix ms or -1
REDIS_FIELD_TIMES: Final = (23, 24, 25)  # hashes with fields that expire of Redis 7.4, where 22 is one too

# --- opcodes
SLOT_IMPORT: Final = 243
SLOT_INFO: Final = 244
FUNCTION2: Final = 245
FUNCTION_PRE_GA: Final = 246
MODULE_AUX: Final = 247
IDLE: Final = 248
FREQ: Final = 249
AUX: Final = 250
RESIZEDB: Final = 251
EXPIRETIME_MS: Final = 252
EXPIRETIME: Final = 253
SELECTDB: Final = 254
EOF: Final = 255

# --- lengths: two bits say how many bytes follow
LENGTH_32: Final = 0x80
LENGTH_64: Final = 0x81
ENCODED: Final = 3  # the other six bits say which special string it is
INT8: Final = 0
INT16: Final = 1
INT32: Final = 2
LZF: Final = 3

QUICKLIST_PLAIN: Final = 1
QUICKLIST_PACKED: Final = 2

# --- what a module writes: numbers of 64 bits, floats, doubles, strings, until 0
MODULE_EOF: Final = 0
MODULE_SIGNED: Final = 1
MODULE_UNSIGNED: Final = 2
MODULE_FLOAT: Final = 3
MODULE_DOUBLE: Final = 4
MODULE_STRING: Final = 5
