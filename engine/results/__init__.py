"""From a backend's candidates to the boxes a caller gets: back to image pixels, soft-NMS, `Detections`, drawing.

Start with postprocess.py, then detections.py. official_nms.py is the published code's own suppression, quirks included.
"""
