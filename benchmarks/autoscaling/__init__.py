"""A simulated cluster under the real scaling policy, and under the ones that people use."""
