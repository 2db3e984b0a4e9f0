"""Jobs: their recipes, their queues, and sending them."""
