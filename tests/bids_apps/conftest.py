"""What tests of BIDS Apps share: podman, and the images of the examples."""

from containers import podman

__all__ = ["podman"]
