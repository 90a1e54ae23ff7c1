"""Trains and evaluates the weights ``convgru_advection.nowcast``, on the archives that they were made from."""
