"""What leaves the laboratory: exported halves, the card for whoever decides, and folders in a model hub's layout."""
