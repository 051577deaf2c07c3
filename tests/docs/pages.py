"""Reads pages of the documentation and runs what they show, as a reader would type it.

A ``console`` block holds commands, the lines that begin with ``$ ``, and below a command lines of its output.
Each shown line has to be in the output, in order; ``...`` stands for anything, blanks count as one.
An HTML comment in front of a block says what the reader does beside it:

* ``<!-- status: 1 -->``: the last command of the block is refused with this exit status
* ``<!-- some: TEXT -->``: the number that the last command says in front of these words is above 0
* ``<!-- background: TEXT -->``: the command goes on in a terminal of its own; it is ready when it says TEXT
* ``<!-- stop: TEXT -->``, before a line of prose: Ctrl-C in that terminal; it ends with 0 and its last words
* ``<!-- untested: REASON -->``: the block is not run
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands import holdfast

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"^(?:<!--\s*(?P<mark>[a-z]+)(?::\s*(?P<say>.*?))?\s*-->\n+)?"
    r"(?:^```(?P<language>\w+)\n(?P<body>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_PLAIN = re.compile(r"[A-Za-z0-9_@./:=,\- '\"]+(?:\s+#.*)?")
_ID = re.compile(r"\bp-[0-9a-f]{20}\b")
AGAIN_S = 30.0
CURL = Path(__file__).with_name("curl.py")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, and the comment in front of it."""

    line: int
    language: str
    body: str
    mark: str = ""
    say: str = ""


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in order, and comments that stand alone."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        if match["language"] or match["mark"] == "stop":
            line = text.count("\n", 0, match.start("body") if match["language"] else match.start()) + 1
            found.append(
                Block(
                    line,
                    match["language"] or "",
                    match["body"] or "",
                    match["mark"] or "",
                    match["say"] or "",
                )
            )
    return found


@dataclass
class Terminal:
    """A shell in an empty folder in which `holdfast` and `python` are this interpreter's.

    Parameters
    ----------
    folder : where it begins
    change : applied to each command before it runs, such as to make the world smaller
    """

    folder: Path
    bin: Path
    change: Callable[[str], str] = str
    port: int = 0
    last_id: str = ""
    running: list["Background"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = self.port or _free_port()
        self.bin.mkdir(exist_ok=True)
        for name, words in {"holdfast": "-m holdfast", "python": ""}.items():
            _script(self.bin / name, f'exec {shlex.quote(sys.executable)} {words} "$@"')
        if shutil.which("curl") is None:
            _script(self.bin / "curl", f'exec {shlex.quote(sys.executable)} {shlex.quote(str(CURL))} "$@"')

    def run_page(self, page: str) -> None:
        """Run every console block of a page, in order."""
        for block in blocks(page):
            if block.mark == "stop":
                self.running.pop().stop(block.say)
            elif block.language == "console" and block.mark != "untested":
                self.run_block(block, f"docs/{page}:{block.line}")

    def run_block(self, block: Block, where: str) -> None:
        """Run the commands of a block and compare what they say with what is shown."""
        commands: list[tuple[str, list[str]]] = []
        for line in block.body.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif line.strip():
                assert commands, f"{where}: output is shown before any command"
                commands[-1][1].append(line)
        assert commands, f"{where}: the block shows no command"
        for n, (command, shown) in enumerate(commands):
            if block.mark == "background":
                self.running.append(Background(self._filled(command), self, block.say))
                continue
            expected = int(block.say) if block.mark == "status" and n == len(commands) - 1 else 0
            counted = block.say if block.mark == "some" and n == len(commands) - 1 else ""
            deadline = time.monotonic() + (AGAIN_S if is_question(command) else 0)
            status, output = self.run(command)
            while time.monotonic() < deadline and (
                status != expected or first_missing(shown, output) or not says_some(counted, output)
            ):
                time.sleep(0.3)
                status, output = self.run(command)
            assert status == expected, f"{where}: `{command}` ended with {status}:\n{output}"
            missing = first_missing(shown, output)
            assert missing is None, f"{where}: `{command}` does not say {missing!r}:\n{output}"
            assert says_some(counted, output), f"{where}: `{command}` says no number {counted!r}:\n{output}"

    def run(self, command: str) -> tuple[int, str]:
        """Run one command; return its status and everything it said."""
        command = self._filled(command)
        if command.startswith("holdfast ") and _PLAIN.fullmatch(command):
            ran = holdfast(*shlex.split(command, comments=True)[1:], cwd=self.folder)
            status, output = ran.status, ran.out + ran.err
        else:
            after = self.bin / "pwd"
            ended = subprocess.run(
                ["bash", "-c", f"{command}\nstatus=$?; pwd > {shlex.quote(str(after))}; exit $status"],
                cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
            )  # fmt: skip
            status, output = ended.returncode, ended.stdout
            self.folder = Path(after.read_text().strip())
        output = output.replace(f":{self.port}", ":8000")
        self.last_id = ([self.last_id, *_ID.findall(output)])[-1]
        return status, output

    def environment(self) -> dict[str, str]:
        """Return the variables of a command: this interpreter first, and this source."""
        paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        return {
            **os.environ,
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "COLUMNS": "120",
        }

    def close(self) -> None:
        """End whatever a page left running, without asking."""
        for each in self.running:
            each.kill()

    def _filled(self, command: str) -> str:
        """Return a command with this terminal's port, the last prediction's id, and the wanted change."""
        command = re.sub(r"(?<=--port )8000|(?<=localhost:)8000", str(self.port), command)
        return self.change(command.replace("p-...", self.last_id or "p-..."))


class Background:
    """A command in a terminal of its own."""

    def __init__(self, command: str, terminal: Terminal, ready: str, within_s: float = 120) -> None:
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LISTENING, f"exec {command}"],
            cwd=terminal.folder, env=terminal.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + within_s
        while not self._is_ready.wait(0.1):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"`{command}` never said {ready!r}:\n{self.text}")

    @property
    def text(self) -> str:
        """What it has said so far."""
        return "".join(self.said)

    def stop(self, last_words: str) -> None:
        """Stop it as Ctrl-C does: it ends with 0, having said its last words."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(60)
        finally:
            self.kill()
        assert status == 0, f"it ended with {status}:\n{self.text}"
        assert last_words in self.text, f"it never said {last_words!r}:\n{self.text}"

    def kill(self) -> None:
        """End it and all its children at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._thread.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self, ready: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if ready in line:
                self._is_ready.set()


_LISTENING = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execvp('bash', ['bash', '-c', sys.argv[1]])"
)
"""Whoever runs the tests may ignore Ctrl-C, which is inherited; a terminal does not."""


def is_question(command: str) -> bool:
    """Whether a command only asks for what comes within seconds; a reader whom it did not suit asks again."""
    asks = command.startswith(("holdfast why ", "holdfast performance "))
    return asks or (command.startswith("curl ") and " -d " not in command)


def says_some(words: str, output: str) -> bool:
    """Whether the output says a number above 0 in front of these words, if there are any."""
    found = re.search(rf"([\d,]+) {re.escape(words)}", output)
    return not words or (found is not None and int(found[1].replace(",", "")) > 0)


def first_missing(shown: list[str], output: str) -> str | None:
    """Return the first shown line that the output does not have behind the one before it, or None."""
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    for line in shown:
        words = " ".join(line.split())
        if words == "...":
            continue
        pattern = ".*".join(re.escape(part.strip()) for part in words.split("..."))
        if not any(re.fullmatch(pattern, found) for found in lines):
            return line
    return None


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
