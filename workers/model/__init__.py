"""Checkpoints: prompt, visual tokens, pixels, weights. One place for captioning and training."""
