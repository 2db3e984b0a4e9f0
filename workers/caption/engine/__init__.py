"""Many captions at once on one device: a full batch at every step.

`engine.py` is the loop and the way in; `scheduler.py` decides who runs; `decoder.py` is one pass
through the language model, `vision.py` one through the vision tower; `kv.py`, `adapters.py`,
`sampling.py` and `linear.py` are what they stand on.
"""
