"""How good, how sure of itself and how dear a network is."""
