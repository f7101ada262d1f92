"""Rows: what operators watch a running node by: MONITOR, the command log, latency; and LOLWUT."""

from cluster.catalog.build import command, integer, many, oneof, opt, string, token
from cluster.catalog.model import ADMIN, FAST, LOADING, NOSCRIPT, READONLY, STALE, Argument, Command

_ENTRIES = "O(N) where N is the number of entries returned"
_KEPT = "O(N) where N is the number of entries in the slowlog"
_EACH = "nondeterministic_output request_policy:all_nodes response_policy:special"


def _kind() -> Argument:
    return oneof("type", token("SLOW"), token("LARGE-REQUEST"), token("LARGE-REPLY"))


ROWS: list[Command] = [
    command("monitor", 1, ADMIN | NOSCRIPT | LOADING | STALE, "server", "1.0.0", "",
        "Show every command that this node executes, as it comes."),
    command("slowlog", -2, 0, "server", "2.2.12", "Depends on subcommand.",
        "Commands about those commands that took long.",
        subs=[
            command("slowlog|get", -2, ADMIN | LOADING | STALE, "server", "2.2.12", _ENTRIES,
                "Tell the commands that took long.",
                tips="request_policy:all_nodes nondeterministic_output",
                history=[("4.0.0", "Added client IP address, port and name to the reply.")],
                args=[opt(integer("count"))]),
            command("slowlog|help", 2, LOADING | STALE, "server", "6.2.0", "O(1)",
                "List the subcommands of SLOWLOG."),
            command("slowlog|len", 2, ADMIN | LOADING | STALE, "server", "2.2.12", "O(1)",
                "Count the slow commands that are kept.",
                tips="request_policy:all_nodes response_policy:agg_sum nondeterministic_output"),
            command("slowlog|reset", 2, ADMIN | LOADING | STALE, "server", "2.2.12", _KEPT,
                "Forget the slow commands.",
                tips="request_policy:all_nodes response_policy:all_succeeded"),
        ]),
    command("commandlog", -2, 0, "server", "8.1.0", "Depends on subcommand.",
        "Commands about those commands that took long, or had much to say or to answer.",
        subs=[
            command("commandlog|get", 4, ADMIN | LOADING | STALE, "server", "8.1.0", _ENTRIES,
                "Tell the commands that are kept for being slow or large.",
                tips="request_policy:all_nodes nondeterministic_output", args=[integer("count"), _kind()]),
            command("commandlog|help", 2, LOADING | STALE, "server", "8.1.0", "O(1)",
                "List the subcommands of COMMANDLOG."),
            command("commandlog|len", 3, ADMIN | LOADING | STALE, "server", "8.1.0", "O(1)",
                "Count the commands that are kept for being slow or large.",
                tips="request_policy:all_nodes response_policy:agg_sum nondeterministic_output", args=[_kind()]),
            command("commandlog|reset", 3, ADMIN | LOADING | STALE, "server", "8.1.0",
                "O(N) where N is the number of entries in the commandlog",
                "Forget the commands that are kept for being slow or large.",
                tips="request_policy:all_nodes response_policy:all_succeeded", args=[_kind()]),
        ]),
    command("latency", -2, 0, "server", "2.8.13", "Depends on subcommand.",
        "Commands about spikes of latency and about the times that commands take.",
        subs=[
            command("latency|doctor", 2, ADMIN | NOSCRIPT | LOADING | STALE, "server", "2.8.13", "O(1)",
                "Say in words what the latency monitor has seen.",
                tips=_EACH),
            command("latency|graph", 3, ADMIN | NOSCRIPT | LOADING | STALE, "server", "2.8.13", "O(1)",
                "Draw the spikes of an event.",
                tips=_EACH, args=[string("event")]),
            command("latency|help", 2, LOADING | STALE, "server", "2.8.13", "O(1)",
                "List the subcommands of LATENCY."),
            command("latency|histogram", -2, ADMIN | NOSCRIPT | LOADING | STALE, "server", "7.0.0",
                "O(N) where N is the number of commands with latency information being retrieved.",
                "Tell how the times of commands are distributed.",
                tips=_EACH, args=[opt(many(string("command")))]),
            command("latency|history", 3, ADMIN | NOSCRIPT | LOADING | STALE, "server", "2.8.13", "O(1)",
                "Tell the spikes of an event with their times.",
                tips=_EACH, args=[string("event")]),
            command("latency|latest", 2, ADMIN | NOSCRIPT | LOADING | STALE, "server", "2.8.13", "O(1)",
                "Tell the last spike of each event.",
                tips=_EACH),
            command("latency|reset", -2, ADMIN | NOSCRIPT | LOADING | STALE, "server", "2.8.13", "O(1)",
                "Forget the spikes of events.",
                tips="request_policy:all_nodes response_policy:agg_sum", args=[opt(many(string("event")))]),
        ]),
    command("lolwut", -1, READONLY | FAST, "server", "5.0.0", "",
        "Draw something, and tell the version.",
        args=[opt(integer("version", "VERSION"))]),
]
