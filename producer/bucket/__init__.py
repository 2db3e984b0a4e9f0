"""What the bucket knows: missing records, failures, captions as a data set."""
