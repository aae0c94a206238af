"""Masks: from files, made of the reference, or brought from another image or day."""
