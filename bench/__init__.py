"""How close whole orders come to what Temporal itself allows: the bare saga and the whole stack, side by side."""
