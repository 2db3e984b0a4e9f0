"""What we claim, as programs that anyone can run."""
