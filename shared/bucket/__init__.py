"""The object store: its layout, records, adapters, and S3 with our errors."""
