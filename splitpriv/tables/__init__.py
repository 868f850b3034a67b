"""Paper tables: what was printed beside what comes out here."""
