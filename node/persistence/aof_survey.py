"""What a file of an append-only set holds and where it breaks, for `kvorum check`; nothing is executed."""

import os
from typing import BinaryIO

from node.persistence.aofparse import AofError, AofReader, TornError
from node.rdb.opcodes import MAGIC, MAGIC_VALKEY
from node.rdb.survey import Survey, survey


class AofSurvey:
    """The account of one file; `error` is None when it is sound to the end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.preamble: Survey | None = None
        self.commands = 0
        self.transactions = 0
        self.names: dict[str, int] = {}
        self.first_timestamp = 0
        self.last_timestamp = 0
        self.good = 0  # up to here it could be loaded
        self.error: AofError | None = None

    def torn(self) -> bool:
        """Whether nothing is wrong but that the end is missing."""
        return isinstance(self.error, TornError)

    def read(self, reader: AofReader) -> None:
        """Read on to the end of the file. Raises AofError."""
        inside = False
        while reader.next():
            name = reader.args[0].lower()
            self.commands += 1
            if name == b"multi" and len(reader.args) == 1:
                if inside:
                    raise AofError(reader.began, "MULTI inside a transaction")
                inside = True
            elif name == b"exec" and len(reader.args) == 1:
                if not inside:
                    raise AofError(reader.began, "EXEC without MULTI")
                inside = False
                self.transactions += 1
            self._count(name)
            if not inside:
                self.good = int(reader.offset)
            self._stamp(int(reader.timestamp))
        if inside:
            raise TornError(reader.size, "the file ends inside a transaction")
        self.good = int(reader.offset)
        self._stamp(int(reader.timestamp))

    def _count(self, name: bytes) -> None:
        shown = name[:32].decode("utf-8", "backslashreplace")
        if shown in self.names or len(self.names) < 1000:
            self.names[shown] = self.names.get(shown, 0) + 1

    def _stamp(self, timestamp: int) -> None:
        if timestamp and not self.first_timestamp:
            self.first_timestamp = timestamp
        self.last_timestamp = timestamp


def survey_aof(file: BinaryIO) -> AofSurvey:
    """Read a file to its end, or to where it breaks. Raises OSError alone."""
    found = AofSurvey(os.fstat(file.fileno()).st_size)
    head = file.read(len(MAGIC_VALKEY))
    file.seek(0)
    if head.startswith((MAGIC, MAGIC_VALKEY)):
        found.preamble = survey(file, found.size)
        if found.preamble.error is not None:
            found.error = AofError(found.preamble.error.offset, f"in the RDB part: {found.preamble.error.reason}")
            return found
        found.good = found.size - found.preamble.trailing
    try:
        found.read(AofReader(file, found.good))
    except AofError as error:
        found.error = error
    return found
