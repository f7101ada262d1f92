"""The operator's command line, `kvorum …`. Parses arguments and shows results; the work is done in `cluster.agent`.

May import `cluster` and the rest of `sentinel`; nothing imports it but the console script.
"""
