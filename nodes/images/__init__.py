"""Volumes made of volumes: resampled, smoothed, timed by slice, combined of echoes; and the brain in one."""
