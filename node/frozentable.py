"""A slot of the compact key table held still, for snapshots: the table's own view of it, behind the interface."""

# ruff: noqa: D102 - the methods are described by the interface
from typing import final

from librt.strings import BytesWriter
from mypy_extensions import i64

from node.frozen import Form, FrozenSlot
from node.keytable.table import View


@final
class FrozenTable(FrozenSlot):
    """A slot of the key table as it was at some instant."""

    view: View

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def parts(self) -> i64:
        return self.view.parts()

    def index(self, key: bytes) -> i64:
        return self.view.index(key)

    def get(self, key: bytes) -> object | None:
        return self.view.get(key)

    def take(self, part: i64) -> dict[bytes, object]:
        return self.view.take(part)

    def dump(self, w: BytesWriter, part: i64, taken: set[bytes], left: dict[bytes, object], form: Form) -> i64:
        return self.view.dump(w, part, taken, left, form.clock, form.now_ms, form.decay, form.compress)

    def expire_at(self, key: bytes) -> i64:
        return self.view.expire_at(key)

    def close(self) -> list[dict[bytes, object]]:
        self.view.close()
        return []
