"""Trains and evaluates the weights ``convgru_advection.nowcast`` on their original data."""
