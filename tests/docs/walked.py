"""The pages whose commands tests/e2e/test_new_user.py runs one after the other on a real control plane."""

PAGES = ("README.md", "docs/install.md", "docs/operations.md")
