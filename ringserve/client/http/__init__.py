"""The client over REST: binary bodies with our server, JSON with TensorFlow Serving."""
