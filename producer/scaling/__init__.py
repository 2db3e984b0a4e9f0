"""How many workers are wanted: what there is to do, measured, and the policy that answers."""
