"""How well networks are searched, and what predictors and scores say of them."""
