"""What surrounds the workers: the local stack, the demo and its tiny model."""
