"""What disturbs a run, volume by volume, and the alarms on it."""
