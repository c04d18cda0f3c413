"""CornerNet-Saccade: where a network that looks twice looks, and what it keeps. Pure functions, in float64.

Start with two_looks.py, which joins them: cuts.py (a window of an image on a canvas), locations.py (which windows).
"""
