"""Datasets of frame sequences and labelled sequences.

To add one, write a class, whose fields are the keys of a recipe's ``[data]``, and add it to ``FRAME_DATASETS`` or
``LABELLED_DATASETS`` of :mod:`convrnn_zoo.data`.
"""
