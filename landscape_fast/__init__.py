"""Loss landscapes of trained networks: spectra, connectivity, similarity, phases."""
