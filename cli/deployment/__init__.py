"""`ordersaga deployment`: the versions of the order worker."""
