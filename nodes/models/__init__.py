"""Linear models of every voxel that grow by a row with every volume."""
