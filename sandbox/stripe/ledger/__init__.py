"""An account's objects: carries out commands by the rules, and stores what became of them."""
