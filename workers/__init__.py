"""Jobs in, captions and adapters out."""
