"""Large-scale structure of a loss landscape: wedges, connectors, tunnels, ensembles."""
