"""Predict requests and answers in other forms than JSON: arrays and messages whose numbers are used where they lie."""
