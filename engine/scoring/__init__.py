"""Data sets in COCO format, and how good a detector is on them: AP over the whole set and per class.

Start with evaluation.py; coco.py reads annotation files, coco_stats.py computes the twelve numbers.
"""
