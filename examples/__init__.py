"""Small models trained on data that ships with scikit-learn, to try the server with.

``python -m examples.train --output DIR`` writes the models, ``python -m examples.requests --output DIR``
prints requests for them.
"""
