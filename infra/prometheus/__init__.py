"""Rules and alerts of Prometheus, and the same for its operator in Kubernetes (`operator`)."""
