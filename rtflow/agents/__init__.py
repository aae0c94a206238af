"""Programs on the other two machines: they connect outwards, and need neither numpy nor Nipype."""
