"""The sentinels: each probes the nodes, agrees with its peers by vote, and promotes a replica when a primary is gone.

The ground floor is pure: `state events info health quorum choose failover learn decide` take a state, an event and the
time, and give the next state and actions; no clock, no chance, no input or output. Above it, on trio, `store settings
hello probes actions engine` watch and act; on top `session commands server __main__` answer. `cli` is the operators'
command line and uses a sentinel only over the wire.

May import `cluster`; never `node` or `proxy`. Nobody imports this room.

The wire protocol is the genuine Sentinel's, to clients, nodes and peers, so genuine sentinels may stand among ours.
What is ours: votes are asked for and counted per shard and failover epoch; evidence from several witnesses (a refused
connection or the agent's word, and replicas whose links broke) replaces waiting; elections are retried in fractions
of a second; and the topology with its epochs is pushed to every node and proxy.
"""
