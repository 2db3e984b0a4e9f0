"""`jamak eval`: an adapter, judged on this machine."""
