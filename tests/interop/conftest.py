"""Which file of this folder is no test."""

collect_ignore = ["make_keras_files.py"]  # takes Keras, and writes files
