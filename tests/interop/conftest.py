"""List of files in this folder that are not tests."""

collect_ignore = ["make_keras_files.py"]  # takes Keras, and writes files
