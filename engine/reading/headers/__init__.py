"""What image files promise, read from their first bytes, one file per format, so that nothing hostile is decoded.

Start with formats.py, which knows them all, then header.py: what is read, and the bounds on it. OpenCV tells the size
only after decoding, and its libraries allocate what a file claims. These parsers read what the formats' specifications
put into the header, as the decoding libraries read it, and nothing else.
"""
