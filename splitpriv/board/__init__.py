"""The board: chains of one world in one table, from rows and entries; static, offline, and open to others."""
