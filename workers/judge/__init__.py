"""How good captions are: texts in, figures out, and a report that people read.

Knows neither models nor buckets: who captions, and with which adapter, is not known here.
"""
