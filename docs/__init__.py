"""Pages for people, and what makes some of them."""
