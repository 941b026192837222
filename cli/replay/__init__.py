"""`ordersaga replay`: whether workflow histories fit the workflow code as it is."""
