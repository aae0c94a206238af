"""The physics of a simulated session: a head, what it does, and what the scanner makes of it.

Head coordinates are MNI152 millimetres; scanner coordinates are RAS+ millimetres. The two agree until the
head moves.
"""
