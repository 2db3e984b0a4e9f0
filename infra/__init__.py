"""What surrounds the workers: the demo and its tiny model."""
