"""The nowcast: motion of the rain, the network, decisions about where rain occurs, and ensembles."""
