"""Records a provoked spinner on this machine; as a script, makes the bundled recording anew.

    python tests/watch/recorder.py src/nostale/systems/isolation/demo/recording.dat

writes the recording and its truth (recording.json) beside it. Needs root, tracefs and two CPUs.
"""

import json
import subprocess
import sys
from pathlib import Path

from nostale.watch import save, watch_live

EVERY = (
    "membarrier",
    "membarrier-private",
    "membarrier-rseq",
    "membarrier-global",
    "mprotect",
    "text",
    "signal",
    "timer",
    "wakeup",
    "workqueue",
    "fault",
)
ALL = ("membarrier", "mprotect", "signal", "text", "wakeup")


def provoked(rounds, *names, target_cpu=1, actor_cpu=0):
    """Return a trace of this machine while `names` were provoked, and the truth about it."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("provoke.py")),
        str(target_cpu),
        str(actor_cpu),
        str(rounds),
    ]
    with subprocess.Popen([*command, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        told = []

        def go():
            child.stdin.write("go\n")
            child.stdin.flush()

        def done():
            told.append(json.loads(child.stdout.readline()))
            return True

        trace = watch_live(20.0, [target_cpu], ready=go, until=done)
        child.stdin.write("end\n")
        child.stdin.flush()
        assert child.wait(20) == 0
    return trace, told[0]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    recorded, truth = provoked(8, *ALL)
    save(recorded, path)
    path.with_suffix(".json").write_text(json.dumps(truth, sort_keys=True) + "\n")
    print(f"{path}: {len(recorded)} events, {path.stat().st_size} bytes, lost {recorded.lost or 'none'}")
