"""Product: the catalogue, names and prices. Stock lives in the inventory service alone."""
