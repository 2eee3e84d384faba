"""TensorFlow Serving's REST API, thin over the front end."""
