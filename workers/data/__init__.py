"""Training sets: what is in them, and what is wrong with them, before anything is trained."""
