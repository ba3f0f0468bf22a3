"""``make bench``: the figures this product has to reach, measured on the machine at hand (docs/benchmarks.md).

Everything measured is the product itself in its own processes, over real sockets, a real queue server and SQLite with
synchronous FULL. What is compared alternates in the same run, so that a busy machine slows both.
"""
