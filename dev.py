#!/usr/bin/env python3
"""Everything a person does with this checkout; needs nothing but Python.

    python3 dev.py demo       hear a call: two people, encrypted, on this machine
    python3 dev.py test       run the tests, but for the attacks (more arguments go to pytest)
    python3 dev.py check      format, lint, types, layers, and a report of sizes
    python3 dev.py fix        format, and mend what lint can mend by itself
    python3 dev.py attack     run the attacks, also with Python's -O, and the table of threats
    python3 dev.py servers    install the servers that interop talks to (Debian, Ubuntu)
    python3 dev.py interop    talk to those servers (--no-skip: a skipped test is a failure)
    python3 dev.py soak       what takes long: thousands of cuts, kills and messages
    python3 dev.py bench      measure against other libraries, in an environment of its own
    python3 dev.py cov        run the tests and show which lines they miss
    python3 dev.py mutants    change one thing at a time, and see whether a test notices
    python3 dev.py map        rewrite the tables of modules and of threats in docs/
    python3 dev.py clean      remove what the other tasks made

The first run makes `.venv` beside this file; nothing outside this folder is touched, except by
`servers`. This file starts with any Python from 3.8 on and finds a newer one by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NoReturn, Sequence  # noqa: UP035 (this file starts with Python 3.8)

ROOT = Path(__file__).resolve().parent
NEEDED = (3, 11)
WINDOWS = os.name == "nt"
PROBE = "import ensurepip, sys, venv; assert sys.version_info >= (3, 11); print(sys.executable)"
MOST_UNSTEADY = 3  # more are no accident
ROOMY = 1 << 30  # bytes
FAST = "not interop and not bench and not soak"

# What `servers` installs, and what each is for.
SERVERS = {
    "kamailio": "SIP proxy and registrar",
    "kamailio-tls-modules": "TLS for it",
    "kamailio-websocket-modules": "WebSocket for it",
    "baresip-core": "a SIP phone with DTLS-SRTP",
    "prosody": "XMPP server, which the lab can start",
    "prosody-modules": "what it does beyond the standard of its package",
    "lua-unbound": "names resolved for it",
    "lua-dbi-sqlite3": "a database for its archives",
    "ejabberd": "XMPP server of another make",
    "erlang-p1-sqlite3": "a database for its archives",
    "profanity": "an XMPP client in a terminal, with OMEMO",
    "tmux": "that terminal",
    "dino-im": "an XMPP client with windows, with OMEMO",
    "gajim": "another, of another make",
    "gajim-omemo": "OMEMO for it",
    "libglib2.0-bin": "gdbus, which tells it what to do",
    "xvfb": "a screen for them, which nobody sees",
    "dbus": "what programs with windows ask for",
    "xdotool": "keys pressed in them",
    "imagemagick": "pictures of them",
    "gnome-keyring": "a keyring (Secret Service)",
    "softhsm2": "a PKCS#11 token without hardware",
    "rtpengine-daemon": "a media gateway, for calls to plain phones",
    "linphone-cli": "a SIP phone that verifies its server",
    "coturn": "a TURN relay",
    "sip-tester": "SIPp, scripted SIP scenarios",
    "chromium": "a browser, which calls with JsSIP and chats with Converse",
    "firefox-esr": "another, of another make",
    "libnss3-tools": "certutil, which tells both whom to trust",
    "fonts-dejavu-core": "letters for their pages",
    "npm": "what installs JsSIP and Converse",
    "opus-tools": "what plays and makes recordings in Opus",
    "openssl": "its command line, as TLS and DTLS peer",
    "iproute2": "a network of their own for some tests",
    "util-linux": "the same: unshare",
    "mount": "the same: files laid over others",
    "strace": "a kernel that refuses the n-th write",
    "pulseaudio": "sound devices without hardware",
    "pulseaudio-utils": "what they play, recorded",
    "libasound2-plugins": "the way from ALSA to PulseAudio",
    "libportaudio2": "what the sounddevice package binds",
}


def say(text: str) -> None:
    """Print a line for the person at the terminal, at once."""
    print(text, flush=True)


def stop(text: str) -> NoReturn:
    """End with a message that names the one thing to do."""
    sys.exit("\n" + text)


# ---------------------------------------------------------------- a Python, an environment


def candidates() -> list[list[str]]:
    """Commands that may start a Python >= 3.11, the likeliest first."""
    found = [[sys.executable]]
    found += [[f"python3.{minor}"] for minor in (13, 12, 11, 14)]
    found += [["python3"], ["py", "-3"]] if WINDOWS else [["python3"], ["/usr/bin/python3"]]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path("~").expanduser() / ".pyenv")
    installed = pyenv.glob("versions/3.1[1-9]*/bin/python")
    return found + [[str(path)] for path in sorted(installed, reverse=True)]


def answer(command: Sequence[str]) -> str:
    """Run a command and return what it printed; "" where it failed or does not exist."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def find_python() -> str | None:
    """The path of a Python that can make an environment, or None."""
    for command in candidates():
        if shutil.which(command[0]):
            path = answer([*command, "-c", PROBE])
            if path:
                return path
    return None


def explain_no_python() -> NoReturn:
    """Say what to install."""
    half = "import sys; assert sys.version_info >= (3, 11); print(sys.version_info[1])"
    minor = next((m for m in (answer([*c, "-c", half]) for c in candidates()) if m), "")
    if minor and shutil.which("apt-get"):
        stop(
            f"Python's venv module is missing. Do this once:\n    apt install python3.{minor}-venv"
        )
    if shutil.which("apt-get"):
        stop("Python 3.11 or newer is needed. Do this once:\n    apt install python3 python3-venv")
    if shutil.which("brew"):
        stop("Python 3.11 or newer is needed. Do this once:\n    brew install python")
    stop("Python 3.11 or newer is needed: https://www.python.org/downloads/")


def interpreter(folder: Path) -> Path:
    """The Python inside an environment."""
    return folder / ("Scripts/python.exe" if WINDOWS else "bin/python")


def create(folder: Path) -> None:
    """Make an empty environment with pip in it."""
    python = find_python()
    if python:
        command = [python, "-m", "venv", "--clear", str(folder)]
    elif shutil.which("uv"):
        shutil.rmtree(folder, ignore_errors=True)
        command = ["uv", "venv", "--quiet", "--seed", "--python", ">=3.11", str(folder)]
    else:
        explain_no_python()
    if subprocess.run(command, check=False).returncode:
        stop(f"The environment {folder} could not be made; the reason stands above.")


def install(folder: Path, *wanted: str) -> bool:
    """Install into an environment; tell whether it worked."""
    quiet = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    env = dict(os.environ, PIP_ROOT_USER_ACTION="ignore")
    command = [str(interpreter(folder)), *quiet, *wanted]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0


def requirements(folder: Path, *groups: str) -> list[str]:
    """The entries of dependency groups in pyproject.toml, read by a Python that knows TOML."""
    code = "import json, tomllib; print(json.dumps(tomllib.load(open('pyproject.toml', 'rb'))))"
    command = [str(interpreter(folder)), "-c", code]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [entry for group in groups for entry in json.loads(text)["dependency-groups"][group]]


def environment(*groups: str, name: str = ".venv", optional: bool = False) -> Path:
    """Return the Python of an environment that has the package and these groups.

    Made on first use and renewed when pyproject.toml asks for something else. With `optional`,
    entries of the groups that cannot be installed here are named and left out.
    """
    folder = Path(os.environ["SECURECALL_VENV"]) if os.getenv("SECURECALL_VENV") else ROOT / name
    python, stamp = interpreter(folder), folder / "securecall.stamp"
    # Tool settings, below, ask for no new installation.
    described = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\n[tool.")[0]
    state = hashlib.sha256(described.encode()).hexdigest()
    known = json.loads(stamp.read_text()) if stamp.exists() else {}
    if not answer([str(python), "-c", "print(1)"]):
        known = {}
    have = set(known.get("groups", ())) if known.get("state") == state else set()
    if known.get("state") == state and have.issuperset(groups):
        return python
    begun = time.monotonic()
    if not known:
        say(f"First run: making {folder.name}. This takes about half a minute, once.")
        create(folder)
    else:
        say(f"Bringing {folder.name} up to date.")
    wanted = requirements(folder, *groups)
    if not install(folder, "--editable", ".", *([] if optional else wanted)):
        stop("Installing failed; the reason stands above. Is this machine online?")
    for entry in wanted if optional else ():
        if not install(folder, entry):
            say(f"  left out, cannot be installed here: {entry}")
    stamp.write_text(json.dumps({"state": state, "groups": sorted(have | set(groups))}))
    say(f"Ready after {time.monotonic() - begun:.0f} s.\n")
    return python


# ---------------------------------------------------------------- the tasks


def run(*command: object) -> int:
    """Run a command in the checkout and return its exit code."""
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode


def demo(arguments: list[str]) -> int:
    """Place a call between two people on this machine."""
    script = "securecall.exe" if WINDOWS else "securecall"
    return run(environment().parent / script, "demo", *arguments)


def test(arguments: list[str]) -> int:
    """Run what needs no foreign server and attacks nothing; several processes for all of it."""
    python = environment("dev", "interop")
    # Which are `attack` and `interop`: not even to be collected.
    less = [] if arguments else ["--ignore=tests/attacks", "--ignore=tests/interop"]
    keep_files_in_memory()
    return run(python, "-m", "pytest", "-q", "-m", FAST, *spread(arguments), *less, *arguments)


def spread(arguments: list[str]) -> list[str]:
    """Four processes for two cores: tests wait for discs, for each other, for what a demo says."""
    return [] if arguments or (os.cpu_count() or 1) < 2 else ["-n", "4", "--dist", "worksteal"]


def keep_files_in_memory() -> None:
    """Have no test wait for a disc: the same calls write and flush the same files, in memory.

    Not where somebody chose another place, or there is little of it, or no program may lie there.
    """
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not os.access(memory, os.W_OK):
        return
    found = os.statvfs(memory)
    if found.f_bavail * found.f_frsize > ROOMY and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(memory)


def cov(arguments: list[str]) -> int:
    """Run the tests, each property with as many examples as in CI, and show the lines they miss."""
    os.environ.setdefault("HYPOTHESIS_PROFILE", "ci")
    return test(["--cov", "--cov-report=term-missing", "-n", "2", *arguments])


def mutants(arguments: list[str]) -> int:
    """Change one thing in one module at a time, and see whether its tests notice; half an hour."""
    return run(environment("dev", "interop"), "-m", "tests.mutants.run", *arguments)


def attack(arguments: list[str]) -> int:
    """Run the attacks, and again where `assert` is compiled away; then the table of threats."""
    python = environment("dev", "interop")
    # The trials of the table are left to the table.
    trials = [] if arguments else ["--ignore=tests/attacks/test_threats.py"]
    pytest = ["-m", "pytest", "-q", "tests/attacks", *trials, *arguments]
    table = ["-m", "securecall.cli", "attack", "run", "all", "--table"]
    keep_files_in_memory()
    say("-- attacks")
    failed = run(python, *pytest, *spread(arguments))  # whose processes know nothing of -O
    say("-- attacks under python -O: no protection may hang on an assert")
    failed = run(python, "-O", *pytest, "-W", "ignore::pytest.PytestConfigWarning") or failed
    if arguments:
        return failed
    say("-- threats: what each does to people without the protection, and to ours")
    failed = run(python, *table) or failed
    say("-- threats under python -O")
    return run(python, "-O", *table) or failed


def apart(group: str, *more: str) -> None:
    """Make an environment for what is under the GPL or the AGPL: run as a process of its own."""
    folder = ROOT / f".venv-{group}"
    if not interpreter(folder).exists():
        say(f"Making {folder.name}.")
        create(folder)
        for entry in requirements(folder, group):
            if not install(folder, entry):
                say(f"  left out, cannot be installed here: {entry}")
        if more and not install(folder, *more):
            stop("Installing failed; the reason stands above. Is this machine online?")


def interop(arguments: list[str]) -> int:
    """Talk to other people's servers and clients on loopback.

    They have races of their own: up to `MOST_UNSTEADY` failed tests are run a second time, and are
    named as unsteady, with what failed the first time above, if they pass.
    """
    python = environment("dev", "interop")
    apart("oracle")
    apart("pjsua", "--editable", ".")
    # A file is whole in one of three processes, each with servers of its own: they mostly wait.
    alone = set(arguments) - {"--no-skip"} or (os.cpu_count() or 1) < 2
    several = [] if alone else ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
    with tempfile.TemporaryDirectory() as memory:  # of which failed, and of nothing older
        pytest = [python, "-m", "pytest", "-q", "-rs", "-m", "interop", "-o", f"cache_dir={memory}"]
        if not run(*pytest, "tests/interop", *several, *arguments):
            return 0
        noted = Path(memory, "v", "cache", "lastfailed")
        unsteady = sorted(json.loads(noted.read_text(encoding="utf-8"))) if noted.exists() else []
        if not 0 < len(unsteady) <= MOST_UNSTEADY:
            return 1
        say(f"-- once more, {len(unsteady)} by themselves")
        if run(*pytest, "--last-failed", "tests/interop", *arguments):
            return 1
    for name in unsteady:
        say(f"UNSTEADY (failed, then passed): {name}")
    return 0


def soak(arguments: list[str]) -> int:
    """Run what takes long: thousands of cuts, kills and messages; up to 30 minutes a part."""
    python = environment("dev", "interop")
    return run(python, "-m", "pytest", "-q", "-rs", "-m", "soak", *arguments)


def check(arguments: list[str]) -> int:
    """Run every static check, then print sizes; fail if one check failed."""
    python = environment("dev", "interop")
    lint_imports = python.with_name("lint-imports.exe" if WINDOWS else "lint-imports")
    steps: dict[str, list[object]] = {
        "format": [python, "-m", "ruff", "format", "--check", "--quiet", "."],
        "lint": [python, "-m", "ruff", "check", "--quiet", "."],
        "types": [python, "-m", "mypy", "securecall", "examples", "dev.py"],
        "layers": [lint_imports, "--no-cache"],
    }
    failed = []
    for name, command in steps.items():
        begun = time.monotonic()
        parts = [str(part) for part in command]
        done = subprocess.run(parts, cwd=ROOT, capture_output=True, text=True, check=False)
        verdict = "ok" if done.returncode == 0 else "FAILED"
        say(f"{name:8} {verdict} ({time.monotonic() - begun:.0f} s)")
        if done.returncode:
            failed.append(name)
            say(done.stdout + done.stderr)
    run(python, "-m", "tests.architecture.sizes")
    if failed:
        say(f"\nfailed: {', '.join(failed)}  (format: python3 dev.py fix)")
    return 1 if failed else 0


def fix(arguments: list[str]) -> int:
    """Format, and mend what lint can mend by itself."""
    python = environment("dev", "interop")
    return run(python, "-m", "ruff", "check", "--fix", "--quiet", ".") | run(
        python, "-m", "ruff", "format", "--quiet", "."
    )


def bench(arguments: list[str]) -> int:
    """Measure against the peers; prints a table, writes bench.json."""
    python = environment("bench", name=".venv-bench", optional=True)
    return run(python, "-m", "tests.bench.run", *arguments)


def map_(arguments: list[str]) -> int:
    """Rewrite the tables of docs/architecture.md and docs/threat-model.md from the code."""
    python = environment("dev", "interop")
    written = run(python, "-m", "tests.architecture.module_map", "--write")
    return run(python, "-m", "tests.architecture.threat_model", "--write") or written


def pages() -> int:
    """Make .interop-browser: JsSIP, what bundles it into a page, and Converse, for interop."""
    source, folder = ROOT / "tests" / "interop" / "browser", ROOT / ".interop-browser"
    lock = folder / "package-lock.json"
    wanted = (source / lock.name).read_text()
    if (folder / "node_modules" / "jssip").exists() and lock.read_text() == wanted:
        return 0
    say("Installing JsSIP and Converse with npm.")
    folder.mkdir(exist_ok=True)
    for name in ("package.json", lock.name):
        shutil.copy(source / name, folder / name)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    return subprocess.run(["npm", "ci", *quiet], cwd=folder, check=False).returncode


def is_installed(package: str) -> bool:
    """Whether apt has it, or npm came with another Node.js."""
    have = "ok installed" in answer(["dpkg", "-s", package])
    return have or (package == "npm" and shutil.which("npm") is not None)


def servers(arguments: list[str]) -> int:
    """Install with apt and npm what interop needs, and start none of it."""
    return apt_servers() or pages()


def apt_servers() -> int:
    """Install what apt has."""
    if not shutil.which("apt-get"):
        say("This task knows apt only (Debian, Ubuntu). Install these in your system's way:")
        say("\n".join(f"  {name:22} {purpose}" for name, purpose in SERVERS.items()))
        return 1
    missing = [p for p in SERVERS if not is_installed(p)]
    if not missing:
        say("Every server is there.")
        return 0
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    say("Installing with apt, about a minute:")
    say("\n".join(f"  {name:22} {SERVERS[name]}" for name in missing))
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    install_them = [*apt, "install", "-y", "--no-install-recommends", *missing]
    run(*apt, "update")
    # Debian starts daemons on installation; this file, while it exists, forbids it.
    policy, ours = Path("/usr/sbin/policy-rc.d"), not sudo
    ours = ours and not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        done = subprocess.run(install_them, capture_output=True, text=True, check=False)
        say("Done." if done.returncode == 0 else done.stdout + done.stderr)
        return done.returncode
    finally:
        if ours:
            policy.unlink()


def clean(arguments: list[str]) -> int:
    """Remove environments, caches and reports."""
    made = [
        ".venv",
        ".venv-bench",
        ".venv-oracle",
        ".venv-pjsua",
        ".interop-browser",
        ".hypothesis",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
    ]
    made += [".import_linter_cache", ".coverage", "bench.json", "build", "dist"]
    for path in [ROOT / name for name in made]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            say(f"removed {path.name}/")
        elif path.exists():
            path.unlink()
            say(f"removed {path.name}")
    for top in ("securecall", "tests"):
        for cache in list((ROOT / top).rglob("__pycache__")):
            shutil.rmtree(cache, ignore_errors=True)
    return 0


TASKS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo,
    "test": test,
    "check": check,
    "fix": fix,
    "attack": attack,
    "servers": servers,
    "interop": interop,
    "soak": soak,
    "bench": bench,
    "cov": cov,
    "mutants": mutants,
    "map": map_,
    "clean": clean,
}


def main() -> int:
    """Run the task named on the command line."""
    task = sys.argv[1] if len(sys.argv) > 1 else "help"
    if task not in TASKS:
        say((__doc__ or "").strip())
        return 0 if task in ("help", "-h", "--help") else 2
    # Without these files every process compiles all it imports: a third of the time of the tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return TASKS[task](sys.argv[2:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
