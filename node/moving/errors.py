"""What can go wrong while data moves: blame in the type."""

from collections.abc import Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class MoveError(Exception):
    """The move can't go on; the text tells why, and what to do."""


class RestartError(MoveError):
    """What was copied may be wrong or stale: everything has to be copied again."""


class SourceError(MoveError):
    """The source refuses, or sends what makes no sense."""


class DroppedError(MoveError):
    """The connection to the source ended; it can be opened again."""


class UnsupportedError(MoveError):
    """The source holds or does what the target can't have."""


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


async def unwrapped(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something that has nurseries inside; of the MoveErrors and OSErrors in a group the gravest is raised alone."""
    try:
        return await work(*args, **kwargs)
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        moves = [leaf for leaf in leaves if isinstance(leaf, MoveError | OSError)]
        if len(moves) < len(leaves):
            raise
        moves.sort(key=lambda leaf: isinstance(leaf, RestartError | DroppedError))
        raise moves[0] from group
