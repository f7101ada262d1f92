"""Benchmarks beside genuine Valkey: both servers in one run, taking turns, compared as ratios.

Absolute figures mean nothing on a shared machine; the ratios of requests a second and of server CPU time an operation
do. `python -m bench --help` tells what can be chosen.
"""
