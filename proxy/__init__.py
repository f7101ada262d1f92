"""The proxy: one process that presents a service, however many shards it has, at a single endpoint.

May import `cluster` and third-party packages; imports neither `node` nor `sentinel`, and nothing imports it (the agent
starts it as `python -m proxy <file>`).

    edge       __main__   server   control   listener   client   lanes   upstream
    deciders   split   info   session   local   routing   skipper   pending   allowlist   settings   texts

The deciders are pure: bytes and state in, bytes and state out, time and chance as arguments. Everything between
`client` and `pending` is compiled by mypyc where a C compiler was there at install, and runs interpreted otherwise.
"""
