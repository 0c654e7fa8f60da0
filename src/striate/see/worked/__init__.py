"""Networks worked by hand: each operation's values and gradients by arithmetic of its own, and written with numbers."""
