"""Decodes API objects into the records that the ledger keeps."""
