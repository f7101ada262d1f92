"""What can be wrong with bytes that claim to be RESP."""


class ProtocolError(Exception):
    """The peer sent something that is no request. `text` is what it is told before the connection is closed."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("latin-1"))
        self.text = text
