"""Frames out of video files. Knows nothing of models, queues or buckets."""
