"""Training batches: read, augment, and the maps the network should give (section 3.2).

Start with dataset.py; augment.py and targets.py are its two steps. shapes.py draws a data set of its own.
"""
