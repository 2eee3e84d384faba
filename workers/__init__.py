"""Worker processes: one per device; they take rows from lanes, run them in batches and write the answers back."""
