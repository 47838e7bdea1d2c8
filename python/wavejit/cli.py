"""`wavejit ...`: a table of commands; their handlers are in commands.py."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavejit import commands
from wavejit.commands import Options
from wavejit.jit import arch as archs
from wavejit.jit import env
from wavejit.jit.errors import WavejitError
from wavejit.tables import parse_size

Argument = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """A sub-command; a name of two words belongs to a group."""

    name: str
    run: Callable[[Options], int]
    help: str
    arguments: tuple[Argument, ...] = ()


def _arg(*names: str, **how: Any) -> Argument:
    return names, how


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


JSON = _arg("--json", action="store_true", help="print JSON for a program")
MODEL = _arg("--model", default="flash", help="flash or pro (default: flash)")
KERNEL = _arg("kernel", metavar="KERNEL", help="a kernel's name, as `wavejit list` shows it")
ONE = _arg("--arch", default=archs.DEFAULT_HOST, help=f"default: {archs.DEFAULT_HOST}")
MANY = _arg("--arch", action="append", help="an architecture or all; may be repeated")
BUILT = _arg("--arch", action="append", required=True, help=MANY[1]["help"])
KERNELS = _arg("--kernel", action="append", help="only this one; may be repeated")
PARAM = _arg("--param", action="append", default=[], metavar="NAME=VALUE", help="another variant")
RESOURCES = _arg("--resources", action="store_true", help="of each kernel, from compiled code")
TAR = _arg("path", type=Path, help="the tar file")
COMMANDS = (
    Command(
        "doctor", commands.doctor, "compilers, torch, binding, GPU, cache: what is missing", (JSON,)
    ),
    Command("list", commands.list_, "kernels and their variants", (ONE, MODEL, JSON)),
    Command("status", commands.status, "what the cache has, for each kernel", (MANY, MODEL, JSON)),
    Command(
        "prebuild",
        commands.prebuild,
        "compile into the cache; needs no GPU",
        (BUILT, MODEL, KERNELS, _arg("--jobs", type=int, help="builds at a time"), JSON),
    ),
    Command(
        "show",
        commands.show,
        "the rendered source, or registers, shared memory and scratch",
        (KERNEL, ONE, MODEL, PARAM, RESOURCES, JSON),
    ),
    Command(
        "why", commands.why, "why a kernel is not in the cache", (KERNEL, ONE, MODEL, PARAM, JSON)
    ),
    Command("cache ls", commands.cache_ls, "the entries", (JSON,)),
    Command("cache verify", commands.cache_verify, "hash every file of every entry", (JSON,)),
    Command(
        "cache gc",
        commands.cache_gc,
        "remove broken, old or too many entries",
        (
            _arg("--max-bytes", type=_size, help="keep at most so many, such as 500M"),
            _arg("--max-age-days", type=float, help="keep what was built since"),
            JSON,
        ),
    ),
    Command(
        "cache export",
        commands.cache_export,
        "write entries to a tar file",
        (TAR, _arg("--arch", help="only this one's")),
    ),
    Command("cache import", commands.cache_import, "add a tar file's entries", (TAR,)),
    Command("parity", commands.parity, "digests of every op on every target here", (MANY, JSON)),
    Command(
        "trace",
        commands.trace,
        "what a kernel's compiled code executes, instruction by instruction on this CPU",
        (
            KERNEL,
            _arg("--arch", default="gfx942", help="gfx942 or gfx950 (default: gfx942)"),
            _arg(
                "--case",
                action="append",
                help="only this case of `wavejit parity`; may be repeated",
            ),
            _arg("--lines", type=int, metavar="N", help="the N source lines that execute most"),
            JSON,
        ),
    ),
    Command(
        "bench",
        commands.bench,
        "time the kernels on this machine's GPU (source tree only)",
        (
            _arg("--list", action="store_true", help="print the shapes, time nothing"),
            _arg("--out", type=Path, help="where to write the results as JSON"),
            JSON,
        ),
    ),
    Command(
        "explain", commands.explain, "what the first call of each kernel will do", (MANY, JSON)
    ),
    Command("env", commands.env_, "the environment variables", (JSON,)),
    Command(
        "demo",
        commands.demo,
        "replay a serving trace and check every compressed row",
        (
            _arg("--requests", type=int, help="how many (default: all)"),
            _arg("--generated", type=int, help="generated tokens a request at most"),
            MANY,
            JSON,
        ),
    ),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wavejit", description="JIT kernels for serving DeepSeek-V4"
    )
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group and group not in groups:
            above = verbs.add_parser(group, help=f"{group} ls, verify, gc, export, import")
            groups[group] = above.add_subparsers(metavar="COMMAND", required=True)
        sub = (groups[group] if group else verbs).add_parser(name, help=command.help)
        sub.set_defaults(run=command.run)
        for names, how in command.arguments:
            sub.add_argument(*names, **how)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error is a message and 1 (a traceback at WAVEJIT_LOG=debug)."""
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return int(status)
    except BrokenPipeError:  # the reader of our output has left: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (WavejitError, ValueError, OSError, ImportError) as error:
        if env.text("WAVEJIT_LOG").lower() == "debug":
            raise
        print(f"wavejit: {error}", file=sys.stderr)
        return 1
