"""What a worker does with a job, from its lease to its record."""
