"""The ways in which the pods of a trace come and go."""
