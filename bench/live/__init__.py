"""Sends the pods of a trace through the real HTTP service and holds its decisions to the replay's."""
