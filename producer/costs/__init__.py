"""What the fleet costs, and whom: from the pages that each worker writes of its time."""
