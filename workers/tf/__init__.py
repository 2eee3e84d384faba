"""The TensorFlow engine: SavedModels run through TensorFlow's C API, without `import tensorflow`."""
