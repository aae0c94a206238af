"""The stream engine: a Nipype workflow that runs once per volume."""
