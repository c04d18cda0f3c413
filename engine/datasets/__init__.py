"""Data sets on disk, in the layouts that users have -> the one form that training and scoring take, and back.

Start with layouts.py, which knows them all: coco_layout.py, voc_layout.py and yolo_layout.py read one each.
convert_dataset.py writes them.
"""
