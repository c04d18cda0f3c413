"""How many images go through the stages: one window after the other, or all stages at once.

Start with stages.py, what is done to an image; serial.py does it window by window, overlapped.py all stages at once.
"""
