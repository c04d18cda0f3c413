"""Models side by side on one machine: stages, end to end, cold start, accuracy of the same files.

Start with benchmark.py; stages.py times, latency_report.py makes rows, latency_chart.py draws.
"""
