"""YAML read with the position of every value, so that each mistake is reported with file, line and field.

Used by blueprints. Values are taken from the syntax tree, never built into objects, and size and depth are bounded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES: Final = 256 << 10
MAX_PROBLEMS: Final = 50

INTEGER: Final = re.compile(r"[0-9]{1,12}")

Fields = dict[str, tuple[Node, Node]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One remark on a file: where it is, on which field, and what would be right. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    field: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.field}: {self.text}" if self.field else f"{where}: {self.text}"


class ProblemError(ValueError):
    """Bytes that are no YAML document; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def compose(data: bytes, file: str) -> Node:
    """The syntax tree of one YAML document; raises ProblemError when there is none."""

    def broken(text: str, line: int = 1, column: int = 1) -> ProblemError:
        return ProblemError(Problem(file, line, column, "", text))

    if len(data) > MAX_BYTES:
        raise broken(f"the file is larger than {MAX_BYTES >> 10} KB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise broken("this is not UTF-8 text", line, error.start - data.rfind(b"\n", 0, error.start)) from error
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"no valid YAML: {error.problem or error.context}"
        raise broken(what, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from error
    except (YAMLError, ValueError) as error:
        raise broken(f"no valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise broken("the values are nested too deeply") from error
    if root is None:
        raise broken("the file is empty; it needs a list 'services:'")
    return root


class Reader:
    """Takes values out of YAML nodes and notes what is wrong with them; a value that is wrong reads as None."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def _problem(self, node: Node, where: str, text: str) -> Problem:
        mark = node.start_mark
        return Problem(self.file, mark.line + 1, mark.column + 1, where, text)

    def wrong(self, node: Node, where: str, text: str) -> None:
        """Note a mistake."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self._problem(node, where, text))

    def warn(self, node: Node, where: str, text: str) -> None:
        """Note a remark that does not keep the file from being used."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(self._problem(node, where, text))

    def mapping(self, node: Node, where: str) -> Fields | None:
        """The keys of a mapping with key and value node."""
        if not isinstance(node, MappingNode):
            self.wrong(node, where, f"fields expected ('name: value'), not {kind_of(node)}")
            return None
        found: Fields = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.wrong(key, where, "a field name expected")
            elif key.value in found:
                self.wrong(
                    key, join_fields(where, key.value), f"given twice, first in line {line_of(found[key.value][0])}"
                )
            else:
                if value.start_mark.line > key.end_mark.line and value.start_mark.index == value.end_mark.index:
                    value.start_mark = key.end_mark  # nothing is there, and YAML puts it before the next word
                found[key.value] = (key, value)
        return found

    def sequence(self, node: Node, where: str, most: int) -> list[Node] | None:
        """The items of a list of at most `most`."""
        if not isinstance(node, SequenceNode):
            self.wrong(node, where, f"a list expected, not {kind_of(node)}")
            return None
        if len(node.value) > most:
            self.wrong(node, where, f"at most {most} entries, not {len(node.value)}")
            return None
        return list(node.value)

    def text(self, node: Node, where: str) -> str | None:
        """A word or sentence; a number is taken as it is written."""
        if not isinstance(node, ScalarNode) or str(node.tag).endswith(":null"):
            self.wrong(node, where, f"a text expected, not {kind_of(node)}")
            return None
        return str(node.value)

    def number(self, node: Node, where: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`."""
        if not isinstance(node, ScalarNode) or not INTEGER.fullmatch(str(node.value)):
            self.wrong(node, where, f"a whole number from {low} to {high} expected, not {kind_of(node)}")
        elif not low <= int(node.value) <= high:
            self.wrong(node, where, f"{node.value} is out of range; from {low} to {high}")
        else:
            return int(node.value)
        return None

    def choice(self, node: Node, where: str, choices: Sequence[str], what: str) -> str | None:
        """One of `choices`."""
        word = self.text(node, where)
        if word is None or word in choices:
            return word
        self.wrong(node, where, f"'{short(word)}' is no {what}{meant(word, choices)}; one of {', '.join(choices)}")
        return None


def kind_of(node: Node) -> str:
    """What a node holds, as a message names it."""
    if isinstance(node, MappingNode):
        return "fields"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if str(node.tag).endswith(":null") else f"'{short(str(node.value))}'"


def short(word: str) -> str:
    """The word, cut when it is long."""
    return word if len(word) <= 60 else word[:57] + "..."


def meant(word: str, choices: Sequence[str]) -> str:
    """A guess at what was meant, or nothing."""
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower().replace("_", "-"), lowered, n=1, cutoff=0.7) if word else []
    return f" (did you mean '{lowered[close[0]]}'?)" if close else ""


def line_of(node: Node) -> int:
    """The line of a node, from 1."""
    return int(node.start_mark.line) + 1


def join_fields(where: str, name: str) -> str:
    """The path of a field."""
    return f"{where}.{name}" if where else name
