"""The verbs of the `jamak` command: each reads the settings, does one thing, and shows it."""
