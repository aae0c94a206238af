"""From a value to what the participant is shown of it."""
