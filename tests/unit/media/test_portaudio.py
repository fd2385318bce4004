from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import time
from securecall.media import portaudio

def close():
    time.sleep(0.3)
    print("closed", flush=True)

portaudio.run(close)
"""


def test_what_is_being_closed_is_closed_before_the_process_ends():
    """PortAudio is ended by its library then, and crashes where a stream is still being closed."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
