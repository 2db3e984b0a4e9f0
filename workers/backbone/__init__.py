"""A checkpoint with another language model: the vision tower is kept, the projector is new.

Files are copied range by range: neither model is ever in memory. Knows nothing of jobs and S3.
"""
