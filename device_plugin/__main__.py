"""`python -m device_plugin`."""

from device_plugin.cli import main

if __name__ == "__main__":
    main()
