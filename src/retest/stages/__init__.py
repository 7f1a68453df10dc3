"""One module per stage: read the store, call the pure rooms, write the store. Stages never import each other."""
