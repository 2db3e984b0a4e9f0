"""Between the queue and the bucket: what makes a caption happen once, and visibly."""
