"""MID for linear regression and decision trees, and the MAP attack on them: small tables, no network."""
