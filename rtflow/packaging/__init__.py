"""A lab's pipeline as a folder that an image is built from: pinned, without secrets, able to prove itself."""
