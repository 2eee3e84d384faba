"""What each peer runs: programs for environments that are not this project's, and import nothing of it but each other."""
