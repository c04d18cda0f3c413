"""Millions of pictures, many machines: Ray hands out parts of a list of pictures, a Detector each finds their boxes.

Start with ray_job.py, which cuts the list into parts and waits for them; part_files.py is what is stored where.
On one machine `Detector` alone is as fast. This adds more machines, buckets, and going on after one of them fell.
"""
