"""Scripts of several clients, run on Valkey and on the node at once: `1: …` is client 1's command, `1<3: …` one that is
answered by three replies, `1>` reads one message of client 1; steps are separated by `;`. Client 0 has no prefix.
"""

from __future__ import annotations

from tests.differential.harness import Session, Step, command


def play(session: Session, script: str) -> None:
    """Run a script step by step. Raises Difference."""
    for line in script.split(";"):
        head, colon, words = line.partition(": ")
        if line.endswith(">"):
            session.heard(int(line[:-1]))
        elif colon and head.replace("<", "").isdigit():
            client, _, replies = head.partition("<")
            session.run([Step(command(words), int(client), int(replies or 1))])
        else:
            session.run([command(line)])
