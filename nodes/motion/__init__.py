"""Motion correction, and registration of one image of a head with another."""
