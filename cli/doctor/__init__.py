"""Looks at all that the parts need: each connection with the part's own settings, and what `ordersaga setup` makes."""
