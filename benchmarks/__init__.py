"""What splitpriv costs, held against limits: every figure a ratio of CPU times from one interleaved run.

    python -m benchmarks              # all, half an hour; JSON to benchmarks/results.json, table to docs/performance.md
    python -m benchmarks step inputs     # some; their entries are replaced, the others stay
    python -m benchmarks --quick         # fewer turns, smaller sizes: to see that they run

Both sides of a ratio run in turns in one process with one thread, so that whoever else uses the machine slows both.
The figure is the median over the turns, with the smallest and the largest beside it.
"""
