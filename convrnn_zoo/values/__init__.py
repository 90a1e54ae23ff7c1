"""Between the values of the data and tensors: preprocessing, front end of sound, units, time steps and labels."""
