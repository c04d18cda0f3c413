"""Detectors inside the servers and clusters of others: Triton's Python backend. No server of our own.

Start with triton_model.py: a Detector whose network is another model of the same server.
"""
