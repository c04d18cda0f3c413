"""Hostile files by the thousand: image files, model files, annotations. `make attack`, minutes; start with __main__.py.

A case is made from a seed, a family and a number alone, and driven in a process of its own kind (children.py) under
limits. Allowed are a result, a result with `.error`, and an exception of engine/errors.py. All else is a finding.
"""
