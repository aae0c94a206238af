"""Many runs of a data set through one workflow, each a job of Snakemake."""
