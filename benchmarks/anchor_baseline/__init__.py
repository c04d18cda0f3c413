"""The anchor-based detector of Table 4: a RetinaNet on the hourglass. Something to compare with, no product.

Start with anchors.py (boxes, matching); anchor_net.py, anchor_method.py and anchor_backend.py fit it into the trainer's
loop and behind the Detector. Nothing outside the analyses imports it.
"""
