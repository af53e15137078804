"""The allocation problem: instances, catalogs, plans, and the one judge of them."""
