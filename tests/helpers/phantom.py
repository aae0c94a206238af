"""The benchmark's head of known motion, one for all tests: its template takes two seconds."""

from rtflow.bench.phantom import CENTRE, SIGNAL, TSNR, Floats, Phantom, noisy, oblique, rigid

__all__ = ["CENTRE", "PHANTOM", "SIGNAL", "TSNR", "Floats", "Phantom", "noisy", "oblique", "rigid"]

PHANTOM = Phantom()
