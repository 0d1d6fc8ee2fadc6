"""What ends a command: one clear line on standard error, and an exit code that scripts can rely on."""

import click

NO = 1
USAGE = 2
UNREACHABLE = 3


class No(click.ClickException):
    """The answer is no: the object is not there, or the question has no positive answer."""

    exit_code = NO


class BadUsage(click.ClickException):
    """An option, a file or the kubeconfig makes no sense; the message names it, its value and what was expected."""

    exit_code = USAGE


class Unreachable(click.ClickException):
    """The API server or the extender cannot be asked, or refuses to answer."""

    exit_code = UNREACHABLE
