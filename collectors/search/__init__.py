"""Finding meters nobody has written down: every way a protocol has of asking who is there.

A way asks of masks: an address, or a pattern many addresses match. Where several meters answer a
mask at once, it is taken apart into narrower ones, until each is one meter's.
"""
