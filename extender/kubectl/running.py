"""Runs a command's question once, or repeatedly with --watch, and writes the answer."""

import gc
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

import click

from extender.kubectl.cluster.session import Session
from extender.kubectl.options import Options, Output
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.writing import written

GC_THRESHOLD = 100_000
_CLEAR_SCREEN = "\x1b[H\x1b[2J\x1b[3J"

Question = Callable[[Session], Answer]
"""Asks the cluster each time; raises the exceptions of `extender.kubectl.options`."""


def run(options: Options, question: Question) -> None:
    """Answer on standard output, and end with the answer's exit code when it is not 0.

    With `--watch` it repeats until Ctrl-C; a failure after the first answer is shown and does not end it.
    """
    # Tens of thousands of objects are read and kept: frequent collections would find no garbage.
    gc.set_threshold(GC_THRESHOLD)
    session = Session(options)
    try:
        if options.watch:
            _watch(session, question)
            return
        show(options, question(session))
    finally:
        session.close()


def show(options: Options, answer: Answer) -> None:
    """Write one answer on standard output, and end with its exit code when it is not 0."""
    click.echo(written(answer, options.output, colour=wants_colour(options, sys.stdout)), nl=False, color=True)
    if answer.exit_code:
        raise click.exceptions.Exit(answer.exit_code)


def wants_colour(options: Options, stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`; NO_COLOR as in https://no-color.org."""
    if options.output in (Output.JSON, Output.YAML) or options.color == "never":
        return False
    return options.color == "always" or (stream.isatty() and not os.environ.get("NO_COLOR"))


def _watch(session: Session, question: Question) -> None:
    options = session.options
    screen = sys.stdout.isatty() and options.output in (Output.TABLE, Output.WIDE)
    first = True
    try:
        while True:
            try:
                text = written(question(session), options.output, colour=wants_colour(options, sys.stdout))
            except click.ClickException as error:
                if first:
                    raise  # a wrong option or kubeconfig does not mend itself
                text = f"{error.format_message()}\n"
            before = _CLEAR_SCREEN if screen else "" if first else "---\n" if options.output is Output.YAML else "\n"
            click.echo(before + text, nl=False, color=True)
            first = False
            time.sleep(options.interval_s)
    except KeyboardInterrupt:
        return
