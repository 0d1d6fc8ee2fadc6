"""Generates the Helm chart's templates from what the kustomizations render, so that both install the same."""
