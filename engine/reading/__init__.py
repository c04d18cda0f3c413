"""From a source to the canvases a backend reads: find and decode (images), scale and pad (preprocess), many views.

Start with images.py. Everything here refuses what is broken, hostile or too large with an ImageError.
"""
