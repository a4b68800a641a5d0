"""Both networks run by torch, and all that has to import it to run or convert them."""
