"""Local clients: processes of this machine that submit requests to lanes of their own, and ask here for these."""
