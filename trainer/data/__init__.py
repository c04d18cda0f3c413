"""Training batches: read, sample, and the maps the network should give (section 3.2).

Start with dataset.py, then sampling.py: augment.py and targets.py are its two steps; of a CornerNet-Saccade
(saccade_sampling.py) crop.py and saccade_targets.py. shapes.py draws a data set of its own.
"""
