"""Linear algebra on symmetric operators; nothing here has heard of a network."""
