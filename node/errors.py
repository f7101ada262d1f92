"""The node's errors and the reply texts that more than one family uses. One root; the blame is in the type."""

from typing import Final


class NodeError(Exception):
    """Root of what this room raises."""


class CommandError(NodeError):
    """The client asked for something that can't be done; `text` is the whole error reply, its code included."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("latin-1"))
        self.text = text


class WrongTypeError(CommandError):
    """The key holds another kind of value."""

    def __init__(self) -> None:
        super().__init__(WRONG_TYPE)


WRONG_TYPE: Final = b"WRONGTYPE Operation against a key holding the wrong kind of value"
SYNTAX: Final = b"ERR syntax error"
NOT_AN_INTEGER: Final = b"ERR value is not an integer or out of range"
NOT_A_FLOAT: Final = b"ERR value is not a valid float"
NO_SUCH_KEY: Final = b"ERR no such key"
OVERFLOW: Final = b"ERR increment or decrement would overflow"
OUT_OF_RANGE: Final = b"ERR index out of range"
OUT_OF_MEMORY: Final = b"OOM command not allowed when used memory > 'maxmemory'."
NO_AUTH: Final = b"NOAUTH Authentication required."
READ_ONLY: Final = b"READONLY You can't write against a read only replica."
NO_MULTI: Final = b"ERR Command not allowed inside a transaction"
EXEC_ABORT: Final = b"EXECABORT Transaction discarded because of previous errors."
NO_REPLICAS: Final = b"NOREPLICAS Not enough good replicas to write."
LOADING: Final = b"LOADING Valkey is loading the dataset in memory"
PRIMARY_DOWN: Final = b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
STRING_TOO_LONG: Final = b"ERR string exceeds maximum allowed size (proto-max-bulk-len)"
CROSS_SLOT: Final = b"CROSSSLOT Keys in request don't hash to the same slot"
DB_OUT_OF_RANGE: Final = b"ERR DB index is out of range"
