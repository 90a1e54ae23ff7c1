"""Models of the zoo in the interfaces of other programs, one file per program.

The files for aeon and TorchGeo derive from classes of these packages and are imported by their names, such as
``convrnn_zoo.interop.adapters.aeon``.
"""
