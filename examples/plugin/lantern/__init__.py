"""One of everything that splitpriv takes from outside."""
