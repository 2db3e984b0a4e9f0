"""S3 notifications, read from SQS, become caption jobs."""
