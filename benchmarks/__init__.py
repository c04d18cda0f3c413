"""How fast and how good: latency by stage beside accuracy, kernels, the paper's analyses. README.md has the results.

Start with latency/benchmark.py; analyses/ are the paper's tables; readme_tables.py renders what is measured.
"""
