"""The views: each turns the window that ends at a slot into one number, its discrepancy from normal."""
