"""`ordersaga events`: what goes through our topics, as it goes."""
