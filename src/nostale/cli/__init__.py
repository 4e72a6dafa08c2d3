"""The command line: one file a command; each parses, calls, renders and returns an exit code."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

import click

from nostale import __version__
from nostale.cli.nearest import nearest
from nostale.contract import NostaleError

__all__ = ["main"]


_OBJECTS_BETWEEN_COLLECTIONS = 50_000
COMMANDS = ("check", "prove", "lint", "watch", "systems", "explain")


class _Commands(click.Group):
    """Imports a command when it is asked for: each needs one engine, and starting should cost nothing else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            ctx.fail(f"no command {cmd_name!r}; {nearest(cmd_name, list(COMMANDS))}")
        found: click.Command = getattr(import_module(f"nostale.cli.{cmd_name}"), cmd_name)
        return found


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit: 0 holds, 1 violated, 2 could not run, 3 unknown.",
)
@click.version_option(__version__, prog_name="nostale")
def nostale() -> None:
    """Can any CPU or device act on a stale view? On the design, in the binary, on the machine.

    \b
    nostale check                      the demonstrations, and 2 s of this machine
    nostale prove codegen:no-tail-sync the shortest way a protocol fails
    nostale lint vmlinux.o             every path of a kernel object
    nostale watch live --cpu 1         who interrupts CPU 1, and why
    """


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit. A user's fault is one line on stderr and 2; ours is a traceback that says so, and 2."""
    # What imports make stays: looking for garbage among it every 700 objects takes a fifth of the time to start.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # Nothing here multiplies matrices: numpy's threads for that would start, spin and end.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = _run(sys.argv[1:] if arguments is None else arguments)
    gc.freeze()  # what there is when a process ends is not looked through for garbage, which Python would do twice
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        code = nostale.main(arguments, prog_name="nostale", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except NostaleError as error:
        print(f"nostale: {error}", file=sys.stderr)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "nostale"
        print(f"{where}: {error.format_message().rstrip('.')}; see {where} --help", file=sys.stderr)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone: nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        import traceback

        traceback.print_exc()
        told = " ".join(["nostale", *arguments])
        print(f"this is a bug in nostale, please report: version {__version__}, command: {told}", file=sys.stderr)
    return 2
