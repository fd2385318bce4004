"""All benchmarks: every figure a program of its own, ours and theirs in turn, medians compared.

    python3 dev.py bench                     everything, about ten minutes
    python3 dev.py bench --quick             one short run of each
    python3 dev.py bench --only pcmu-10      the rows whose id begins so

Prints a table and writes bench.json: rows of `id, ours, theirs, ratio, target, ok`. Absolute
figures depend on the machine and its load; the ratio of one run is what counts. CPU is counted per
frame that an application heard, so that losing frames makes nobody cheaper; `arrived` is the share
that was heard, ours and theirs. `ok` is null where a side could not be measured, and `note` says
why. docs/benchmarks.md describes the method. Nothing here is a test: it fails no build.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.bench.measure import ABSENT
from tests.paths import PROJECT

OUTPUT = PROJECT / "bench.json"


@dataclass(frozen=True)
class Figure:
    """One number a program prints.

    Attributes:
        program: Module under tests.bench, with its arguments; "{seconds}" is filled in.
        key: Name of the number in the JSON it prints.
    """

    program: str
    key: str


@dataclass(frozen=True)
class Row:
    """One claim: ours is at most `limit` times theirs, or alone; None claims nothing."""

    id: str
    unit: str
    ours: Figure
    theirs: Figure | None
    limit: float | None

    @property
    def target(self) -> str:
        """The claim in words."""
        if self.limit is None:
            return "no target"
        if self.theirs is None:
            return f"<= {self.limit:g} {self.unit}"
        return "<= theirs" if self.limit == 1 else f"<= 1/{1 / self.limit:g} of theirs"


def _cpu(codec: str, calls: int) -> tuple[Figure, Figure]:
    # No peer encrypts end to end; without SFrame both sides do the same work.
    ours = f"engine_cpu --codec {codec} --calls {calls} --no-sframe --seconds {{seconds}}"
    return (
        Figure(ours, "us_per_frame"),
        Figure(f"peers.aiortc_call {codec} {calls} {{seconds}}", "us_per_frame"),
    )


def _pjsua2(calls: int) -> Figure:
    return Figure(f"peers.pjsua2_call {calls} {{seconds}}", "us_per_frame")


ENGINE_4 = Figure("engine_pjsua2 4 {seconds}", "us_per_frame")
PCMU_1, AIORTC_PCMU_1 = _cpu("pcmu", 1)
PCMU_4, _ = _cpu("pcmu", 4)
PCMU_10, AIORTC_PCMU_10 = _cpu("pcmu", 10)
PCMU_10_SFRAME = Figure(PCMU_10.program.replace("--no-sframe ", ""), PCMU_10.key)
OPUS_5, AIORTC_OPUS_5 = _cpu("opus", 5)
_, AIORTC_OPUS_ALIKE = _cpu("opus-alike", 5)
OPUS_ALIKE = Figure(OPUS_5.program.replace("--no-sframe", "--no-sframe --complexity 5"), OPUS_5.key)
LATENCY, AIORTC_LATENCY = Figure("latency pcmu", "ms"), Figure("peers.aiortc_latency pcmu", "ms")
SETUP, SETUP_PLAIN, SETUP_KEYS = (
    Figure("setup_cpu", f"{part}_cpu_ms") for part in ("setup", "plain", "keys")
)
AIORTC_SETUP = Figure("peers.aiortc_call pcmu 0 0", "setup_cpu_ms")
SIP = Figure("sip_parse", "us")
FILE_SEAL, FILE_OPEN = Figure("files", "seal"), Figure("files", "open")
LOAD = "sip_load {} {{seconds}}"
# 300 messages a second, sealed and opened in one process
OMEMO, OMEMO_LEGACY = Figure("omemo_ops two", "us"), Figure("omemo_ops legacy", "us")
PYTHON_OMEMO = Figure("peers.omemo_manager", "us")
HISTORY = "history"
UNLOCK = "unlock"
CHAT, CHAT_IDLE = "chat rate", "chat idle"
VIDEO = Figure("video_cpu --seconds {seconds}", "us_per_frame")
VIDEO_ALIKE = Figure("video_cpu --alike --seconds {seconds}", "us_per_frame")
AIORTC_VIDEO = Figure("peers.aiortc_video {seconds}", "us_per_frame")
PCMU_100, _ = _cpu("pcmu", 100)
PCMU_100_LATE = Figure(PCMU_100.program, "late_ms_p99")
# pjsua2 of an own build at 30 calls took 0.43 % of a core per endpoint, 50 frames a second; the
# wheel that can be measured here refuses a fifth call
PJSUA2_AT_30 = 86.0


def _signalling(what: str, count: int, theirs: int) -> tuple[Figure, Figure]:
    return (
        Figure(f"sip_ops {what} {count}", "us"),
        Figure(f"peers.pjsua2_sip {what} {theirs}", "us"),
    )


CPU = "us CPU per frame heard"
ROWS = (
    Row("pcmu-1-aiortc", CPU, PCMU_1, AIORTC_PCMU_1, 1 / 3),
    Row("pcmu-1-pjsua2", CPU, PCMU_1, _pjsua2(1), 1.0),
    Row("pcmu-4-pjsua2", CPU, PCMU_4, _pjsua2(4), 1 / 1.4),
    Row("pcmu-4-engine", CPU, ENGINE_4, _pjsua2(4), None),
    Row("pcmu-10-aiortc", CPU, PCMU_10, AIORTC_PCMU_10, 1 / 12),
    Row("pcmu-10-sframe-aiortc", CPU, PCMU_10_SFRAME, AIORTC_PCMU_10, 1 / 12),
    Row("opus-5-aiortc", CPU, OPUS_5, AIORTC_OPUS_5, 1 / 3.5),
    Row("opus-5-alike-aiortc", CPU, OPUS_ALIKE, AIORTC_OPUS_ALIKE, 1.0),
    Row("vp8-aiortc", "us CPU per picture shown", VIDEO, AIORTC_VIDEO, 1 / 3),
    Row("vp8-alike-aiortc", "us CPU per picture shown", VIDEO_ALIKE, AIORTC_VIDEO, 1 / 1.7),
    Row("latency", "ms app to app", LATENCY, None, 25.0),
    Row("latency-aiortc", "ms app to app", LATENCY, AIORTC_LATENCY, 1 / 3),
    Row("first-sound", "ms, 95 of 100", Figure("first_sound", "p95_ms"), None, 100.0),
    Row("setup-plain-aiortc", "ms CPU, both ends", SETUP_PLAIN, AIORTC_SETUP, 1 / 3),
    Row("setup-keys-aiortc", "ms CPU, both ends", SETUP_KEYS, AIORTC_SETUP, 1 / 3),
    Row("setup-identity-aiortc", "ms CPU, both ends", SETUP, AIORTC_SETUP, 1 / 3),
    Row("sip-aiosipua", "us per INVITE", SIP, Figure("peers.sip_parse aiosipua", "us"), 1 / 3),
    Row("sip-sipmessage", "us per INVITE", SIP, Figure("peers.sip_parse sipmessage", "us"), 1 / 4),
    Row("pcmu-100", CPU, PCMU_100, None, PJSUA2_AT_30),
    Row("pcmu-100-late", "ms late, p99 of ticks", PCMU_100_LATE, None, 20.0),
    Row("sip-register-pjsua2", "us CPU per REGISTER", *_signalling("register", 4000, 1000), None),
    Row("sip-call-pjsua2", "us CPU per call", *_signalling("call", 2000, 100), None),
    Row("sip-message-pjsua2", "us CPU per MESSAGE", *_signalling("message", 4000, 1000), None),
    Row("memory-registration", "kB", Figure("sip_memory registration 150", "kB"), None, None),
    Row("memory-dialog", "kB", Figure("sip_memory dialog 300", "kB"), None, None),
    Row("memory-xmpp", "kB", Figure("xmpp_session", "idle_kB"), None, None),
    Row("xmpp-connect", "ms to a bound session", Figure("xmpp_session", "connect_ms"), None, None),
    Row("xmpp-stanza", "us CPU, both ends", Figure("xmpp_session", "cpu_us"), None, None),
    Row("load-calls", "ms INVITE to 200", Figure(LOAD.format("calls"), "p95_ms"), None, 20.0),
    Row("load-calls-cpu", "ms CPU a call", Figure(LOAD.format("calls"), "cpu_ms"), None, 5.0),
    Row("load-options", "ms to 200", Figure(LOAD.format("options"), "p95_ms"), None, 20.0),
    Row("load-options-cpu", "ms CPU each", Figure(LOAD.format("options"), "cpu_ms"), None, 2.0),
    Row("omemo-two", "us CPU per message", OMEMO, None, 3333.0),
    Row("omemo-legacy", "us CPU per message", OMEMO_LEGACY, None, 3333.0),
    Row("omemo-two-python-omemo", "us CPU per message", OMEMO, PYTHON_OMEMO, 1.0),
    Row("omemo-session", "us CPU per session", Figure(OMEMO.program, "session_us"), None, None),
    Row("omemo-import", "ms CPU", Figure(OMEMO.program, "import_ms"), None, None),
    # both ends together; 300 messages a second
    Row("chat-together", "us CPU per message", Figure(CHAT, "gather_us"), None, 3333.0),
    Row("chat-together-server", "us CPU", Figure(CHAT, "gather_server_us"), None, None),
    Row("chat-receipts", "us CPU per message", Figure(CHAT, "gather_receipts_us"), None, None),
    Row("chat-one", "us CPU per message", Figure(CHAT, "one_us"), None, None),
    Row("chat-one-receipts", "us CPU per message", Figure(CHAT, "one_receipts_us"), None, None),
    Row("chat-idle", "kB per idle client", Figure(CHAT_IDLE, "idle_kB"), None, 5120.0),
    Row("chat-sign-in", "ms CPU", Figure(CHAT_IDLE, "sign_in_ms"), None, None),
    Row("chat-first-sign-in", "ms CPU", Figure(CHAT_IDLE, "first_ms"), None, None),
    Row("unlock-derive", "ms", Figure(UNLOCK, "derive_ms"), None, 300.0),
    Row("unlock-open", "ms, 500 contacts", Figure(UNLOCK, "contacts_ms"), None, 100.0),
    Row("unlock-list", "ms, 500 contacts", Figure(UNLOCK, "list_ms"), None, 100.0),
    Row("backup", "ms, 500 contacts", Figure(UNLOCK, "backup_ms"), None, None),
    Row("restore", "ms, 500 contacts", Figure(UNLOCK, "restore_ms"), None, None),
    Row("history-open", "ms, 100,000 messages", Figure(HISTORY, "open_ms"), None, 500.0),
    Row("history-last-50", "ms, 100,000 messages", Figure(HISTORY, "last_ms"), None, 20.0),
    Row("history-search", "ms, 100,000 messages", Figure(HISTORY, "search_ms"), None, 200.0),
    Row("file-seal", "ms CPU per MB", FILE_SEAL, Figure("files", "whole_seal"), None),
    Row("file-open", "ms CPU per MB", FILE_OPEN, Figure("files", "whole_open"), None),
    Row("file-memory", "kB for 200 MB", Figure("files", "grown_kb"), None, 8192.0),
    Row("import", "ms CPU", Figure("import_cost", "cpu_ms"), None, 150.0),
)
# Programs that print rows of their own.
OWN_ROWS = {"pesq": "pesq", "echo": "echo", "impaired": "impaired"}


class Missing(Exception):
    """A figure that cannot be had here; the text says why."""


def run(program: str, *, seconds: float) -> str:
    """Run a measuring program and return what it printed."""
    name, *arguments = program.format(seconds=seconds).split()
    path = PROJECT / "tests" / "bench" / (name.replace(".", "/") + ".py")
    if not path.exists():
        raise Missing(f"not written yet: {path.relative_to(PROJECT)}")
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    try:
        done = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, timeout=1800, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise Missing(f"{name} took more than {e.timeout:.0f} s") from e
    if done.returncode == ABSENT:
        raise Missing(f"peer absent: pip install {json.loads(done.stdout)['absent']}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Missing(f"{name} failed: {last[:200]}")
    return done.stdout


def objects(text: str) -> list[dict[str, object]]:
    """The JSON objects in a program's output; libraries print lines of their own in between."""
    found: list[dict[str, object]] = []
    for line in text.splitlines():
        if line.startswith(("{", "[")):
            value = json.loads(line)
            found.extend(value if isinstance(value, list) else [value])
    return found


class Board:
    """Runs each program once a round, whatever number of rows wants it, and keeps the medians."""

    def __init__(self, *, rounds: int, seconds: float) -> None:
        """Measure `rounds` times, CPU over `seconds`."""
        self._rounds, self._seconds = rounds, seconds
        self._answers: dict[str, list[dict[str, object]]] = {}
        self._missing: dict[str, str] = {}

    def measure(self, programs: Iterable[str], say: Callable[[str], None]) -> None:
        """Run them all, round by round, so that a slow minute of the machine hits every side."""
        order = list(dict.fromkeys(programs))
        for number in range(self._rounds):
            for program in order:
                if program in self._missing:
                    continue
                begun = time.monotonic()
                try:
                    last = objects(run(program, seconds=self._seconds))[-1]
                    self._answers.setdefault(program, []).append(last)
                    verdict = f"{time.monotonic() - begun:.0f} s"
                except Missing as e:
                    self._missing[program] = verdict = str(e)
                name = program.replace(" {seconds}", "").removesuffix(" --seconds")
                say(f"  round {number + 1}/{self._rounds}  {name}: {verdict}")

    def value(self, figure: Figure) -> float:
        """The median of a figure over the rounds."""
        if figure.program in self._missing:
            raise Missing(self._missing[figure.program])
        return self._median(figure.program, figure.key)

    def arrived(self, figure: Figure) -> float | None:
        """The median share of frames that were heard, None for what has no frames."""
        answers = self._answers.get(figure.program, [])
        has_frames = figure.key == "us_per_frame" and answers
        return self._median(figure.program, "arrived") if has_frames else None

    def _median(self, program: str, key: str) -> float:
        return statistics.median(float(str(a[key])) for a in self._answers[program])


def compare(row: Row, board: Board) -> dict[str, object]:
    """One row of the table."""
    line: dict[str, object] = {"id": row.id, "unit": row.unit, "ours": None, "theirs": None}
    line |= {"ratio": None, "target": row.target, "ok": None, "note": ""}
    sides = [board.arrived(figure) for figure in (row.ours, row.theirs) if figure]
    if None not in sides:
        line["arrived"] = sides
    try:
        line["ours"] = ours = board.value(row.ours)
        if row.theirs is None:
            line["ok"] = None if row.limit is None else ours <= row.limit
        else:
            line["theirs"] = theirs = board.value(row.theirs)
            line["ratio"] = ours / theirs
            line["ok"] = None if row.limit is None else ours / theirs <= row.limit
    except Missing as e:
        line["note"] = str(e)
    return line


def own_rows(program: str, *, seconds: float) -> list[dict[str, object]]:
    """The rows a program prints itself, as {"rows": [...]}; higher is better but where it says."""
    try:
        last = objects(run(program, seconds=seconds))[-1]
    except Missing as e:
        return [{"id": program, "note": str(e)}]
    if "absent" in last:
        return [{"id": program, "note": f"peer absent: {last['absent']}"}]
    rows: list[dict[str, object]] = last["rows"]
    return [row | {"target": _aim(row)} for row in rows]


def _aim(row: dict[str, object]) -> str:
    aim = row["target"]
    return "" if aim is None else f"{'<=' if row.get('lower') else '>='} {aim}"


def table(lines: list[dict[str, object]]) -> str:
    """The rows for a person."""
    verdicts = {True: "ok", False: "MISSED", None: "-"}

    def number(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, int | float) else "-"

    text = [f"{'':22}{'ours':>9}{'theirs':>9}{'ratio':>8}  {'target':27}"]
    for line in lines:
        ours, theirs, ratio = (number(line.get(k)) for k in ("ours", "theirs", "ratio"))
        verdict = verdicts.get(line.get("ok"), "-")
        end = line.get("note") or line.get("unit", "")
        arrived = line.get("arrived")
        if isinstance(arrived, list):
            end = f"{end}, arrived {' and '.join(f'{share:.3f}' for share in arrived)}"
        target = str(line.get("target", ""))
        text.append(f"{line['id']:22}{ours:>9}{theirs:>9}{ratio:>8}  {target:27}{verdict:7} {end}")
    return "\n".join(text)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--only", default="", metavar="ID", help="rows whose id begins so")
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.quick else (3, 4.0)
    rows = [row for row in ROWS if row.id.startswith(options.only)]
    board = Board(rounds=rounds, seconds=seconds)
    figures = [figure for row in rows for figure in (row.ours, row.theirs) if figure]
    board.measure((f.program for f in figures), lambda text: print(text, flush=True))
    lines = [compare(row, board) for row in rows]
    for name, program in OWN_ROWS.items():
        if name.startswith(options.only) or options.only.startswith(name):
            lines += own_rows(program, seconds=seconds)
    print("\n" + table(lines))
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    report = {"machine": machine, "rounds": rounds, "seconds": seconds, "rows": lines}
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {OUTPUT.name}")


if __name__ == "__main__":
    main()
