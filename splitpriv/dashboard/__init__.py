"""The dashboard: one HTML file that holds every run, or the same page served while a sweep runs. It reads rows only."""
