"""The ground floor: what every process of Kvorum must agree on, the language included.

Holds the wire protocol, the command catalog, slots, topology, options, the RESP client link, TLS, logs, blueprints,
plans and the agent. May import third-party packages and itself, downwards; imports none of `node`, `sentinel` and
`proxy`, which all stand on it (the agent starts them as `python -m …` by name).
"""
