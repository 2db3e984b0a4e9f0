"""Bad and odd videos, each with what may come of it: made by code, the same each time."""
