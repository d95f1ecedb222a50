"""A command as a whole process: what it cost, and on what machine."""

import json
import os
import platform
import subprocess
import sys
import tempfile

# Starts the command from something small: a process's peak counts what it was before exec, a copy of its parent.
STARTER = """import json, resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump({"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024}, file)
sys.exit(code)"""


def run(command, **environment):
    """Wall seconds, CPU seconds of all its processes, and MiB of the largest of them. Ends the program where it fails."""
    line = [str(part) for part in command]
    with tempfile.NamedTemporaryFile("r") as cost:
        done = subprocess.run([sys.executable, "-S", "-c", STARTER, cost.name, *line], stderr=subprocess.PIPE,
                              env={**os.environ, **environment}, text=True)
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(line)} ended with {done.returncode}:\n{done.stderr}")
        return json.load(cost)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def multiplies_bfloat16():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return any("avx512_bf16" in line.split() for line in file if line.startswith("flags"))
