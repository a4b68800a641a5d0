"""ISO base media files that hold pictures: AVIF, HEIC and sequences of them.

Reads boxes, items and the heads of coded pictures, and decodes none.
"""
