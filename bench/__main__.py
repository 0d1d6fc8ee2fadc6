"""`python -m bench`."""

import sys

try:
    import click

    from bench.cli import main

    # Imported out here, where Ctrl-C does not count as a failure of the command.
    main.get_command(click.Context(main), sys.argv[1] if len(sys.argv) > 1 else "")
except KeyboardInterrupt:
    sys.exit(130)

main(prog_name="python -m bench")
