"""S3 to jobs, and everything the operator does. Installs without torch."""
