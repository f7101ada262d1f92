"""The agent: the one process a host that starts all others, keeps them running, and stops them.

    edge       up   children   ready   watch   status   control
    deciders   supervise   layout   identity
    files      home

The deciders are pure: blueprint, state and time in, values and actions out. May import the rest of `cluster`, never
`node`, `sentinel` or `proxy`, which it starts as `python -m …` by name. Only `sentinel.cli` imports it.
"""
