"""Getting a bundle's bitstream into a board with openFPGALoader, and making sure that it runs."""
