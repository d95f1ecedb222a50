"""Stops, kills and misleads ranks of running jobs, and checks what the others say.

    PYTHONPATH=tests BERTDIST=build/cpu/bin/bertdist MPIRUN=tests/mpirun .venv/bin/python tests/watchdog/faults.py --count 500

prints one line a fault and a summary, and ends with 1 where a job hung or the wrong rank was named.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from reference.program import ENVIRONMENT, command, make_rows, save_bert, write_csv

TIMEOUT = 2.0  # comm_timeout_s, unless a Bench has another
PATIENCE = 90  # seconds after which a job counts as hung; its timeout + 5 is what it should take
PEER, KILLED = 10, 137  # exit codes
BERTDIST = Path(os.environ["BERTDIST"])
OVERLAP = {"ddp_bucket_cap_mb": 0.01, "overlap_grad_reduce": True}
TRAININGS = {"train": {}, "overlap": OVERLAP, "nccl": {"program": BERTDIST.with_name("bertdist_nccl_stand_in"), **OVERLAP}}
AGENT = Path(__file__).with_name("here_instead_of_ssh")


@dataclasses.dataclass(frozen=True)
class Fault:
    kind: str  # stop, kill, wrong
    program: str  # collective_rounds and nccl_rounds: tests/watchdog/collective_rounds.cpp; train: bertdist train;
    # overlap: the same with gradients in buckets that are summed while backward goes on; nccl: that over NcclCommunicator
    ranks: int
    victim: int
    delay: float  # seconds after the job has started to run
    hosts: int = 1

    @property
    def wrong_round(self):
        return 1 + int(self.delay * 100)

    @property
    def is_between_communicators(self):
        """The others are in a collective of a part, one of them waits for the victim there: it could be either's fault."""
        has_part = any(rank % 2 == self.victim % 2 for rank in range(self.ranks) if rank != self.victim)
        return self.kind == "wrong" and self.wrong_round % 6 == 5 and has_part

    def is_told_late(self, rank):
        """Of a death on another host a rank knows by mpirun's SIGTERM only: it names all that it waits for then, or, where
        MPI blocks, nobody."""
        each = self.ranks // self.hosts
        return self.kind == "kill" and rank // each != self.victim // each

    def __str__(self):
        return f"{self.kind} rank {self.victim} of {self.ranks} on {self.hosts} host(s), {self.program}, at {self.delay:.2f} s"


def draw(generator, kind, program, ranks, hosts=1):
    return Fault(kind, program, ranks, generator.randrange(ranks), generator.uniform(0, 1.5), hosts)


def plan(count, seed):
    """A quarter of the faults in real trainings, half of which overlap, the rest shared by the three kinds; 2, 3 and 8 ranks
    in turn."""
    generator = random.Random(seed)
    faults = []
    for index in range(count):
        if index % 4 == 0:
            program, kind = ("train", "overlap")[index // 8 % 2], ("stop", "kill")[index // 4 % 2]
        else:
            program, kind = "collective_rounds", ("stop", "kill", "wrong")[index % 4 - 1]
        faults.append(draw(generator, kind, program, (2, 3, 8)[index % 3]))
    return faults


@dataclasses.dataclass
class Outcome:
    code: int | None  # None: it hung
    output: str
    seconds: float  # from the fault to the end


class Bench:
    """What the faults share: a small model and its data."""

    def __init__(self, folder, timeout=TIMEOUT):
        self.folder, self.timeout = Path(folder), timeout
        save_bert(self.folder / "model")
        write_csv(self.folder / "train.csv", make_rows(60))
        write_csv(self.folder / "validation.csv", make_rows(20, seed=1))

    def command(self, fault, output_dir, job):
        launcher = [os.environ["MPIRUN"], "-x", f"BERTDIST_TEST_JOB={job}", "-np", fault.ranks]
        if fault.hosts > 1:
            each = fault.ranks // fault.hosts
            hosts = ",".join(f"host{number}:{each}" for number in range(fault.hosts))
            # Two daemons on this machine, which share neither memory nor a session folder.
            launcher += ["--mca", "plm", "rsh", "--mca", "plm_rsh_agent", AGENT, "--mca", "btl", "self,tcp", "--host", hosts]
        if fault.program not in TRAININGS:
            program = [BERTDIST.with_name(fault.program), self.timeout, 1_000_000]
            if fault.kind == "wrong":
                program += [fault.victim, fault.wrong_round]
        else:
            program = command("train", model_name_or_path=self.folder / "model", output_dir=output_dir, num_threads=1,
                              train_file=self.folder / "train.csv", validation_file=self.folder / "validation.csv",
                              token_cache_dir=f"{output_dir}-cache", per_device_train_batch_size=2, num_train_epochs=10_000,
                              eval_strategy="epoch", save_strategy="epoch", save_total_limit=2, comm_timeout_s=self.timeout,
                              load_best_model_at_end=False, **TRAININGS[fault.program])
        return [str(part) for part in launcher + program]

    def inject(self, fault):
        job = uuid.uuid4().hex
        output_dir = self.folder / job
        log = self.folder / f"{job}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(self.command(fault, output_dir, job), stdout=out, stderr=out, env=ENVIRONMENT,
                                       stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: runs(log) or process.poll() is not None)
            if fault.kind != "wrong" and process.poll() is None:
                time.sleep(fault.delay)
                process_of_rank(job, fault.victim, send=signal.SIGSTOP if fault.kind == "stop" else signal.SIGKILL)
            start = time.monotonic()
            code = process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, TimeoutError):
            code = None
        finally:
            seconds = time.monotonic() - start if "start" in locals() else float("nan")
            end_job(process, job)
        outcome = Outcome(code, log.read_text(errors="replace"), seconds)
        return outcome, output_dir


def runs(log):
    text = log.read_text(errors="replace")
    return "running\n" in text or re.search(r"^bertdist .* ranks on ", text, re.MULTILINE) is not None


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def processes_of(job):
    """Rank and process of each rank of the job, by its environment."""
    for entry in Path("/proc").iterdir():
        try:
            variables = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if f"BERTDIST_TEST_JOB={job}".encode() in variables:
            ranks = [v.split(b"=")[1] for v in variables if v.startswith(b"OMPI_COMM_WORLD_RANK=")]
            if ranks:
                yield int(ranks[0]), int(entry.name)


def process_of_rank(job, victim, send):
    for rank, process in processes_of(job):
        if rank == victim:
            os.kill(process, send)
            return
    raise TimeoutError(f"rank {victim} is not there")


def end_job(process, job):
    """Nothing is left running, whatever happened."""
    for _, rank in processes_of(job):
        try:
            os.kill(rank, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def lines_of(outcome):
    """What each rank said."""
    lines = collections.defaultdict(list)
    for rank, text in re.findall(r"^\[rank (\d+)\] error: (.*)$", outcome.output, re.MULTILINE):
        lines[int(rank)].append(text)
    return lines


def half_written(output_dir):
    """Checkpoints that lack a file, or whose tensors are shorter than their header says."""
    broken = []
    for checkpoint in Path(output_dir).glob("checkpoint-*"):
        for name in ("model.safetensors", "optimizer.safetensors"):
            try:
                content = (checkpoint / name).read_bytes()
                header = struct.unpack("<Q", content[:8])[0]
                ends = [int(end) for end in re.findall(rb'"data_offsets":\[\d+,(\d+)\]', content[8 : 8 + header])]
                if 8 + header + max(ends) != len(content):
                    broken.append(f"{checkpoint.name}/{name}")
            except (OSError, struct.error, ValueError):
                broken.append(f"{checkpoint.name}/{name}")
        if not (checkpoint / "trainer_state.json").exists():
            broken.append(f"{checkpoint.name}/trainer_state.json")
    return broken


def complaints(fault, outcome, output_dir):
    """What is not as it must be; empty where all is."""
    found = []
    expected = KILLED if fault.kind == "kill" else PEER
    if outcome.code is None:
        found.append("it hung")
    elif outcome.code != expected:
        found.append(f"exit code {outcome.code}, not {expected}")
    lines = lines_of(outcome)
    for rank in range(fault.ranks):
        # One that took a wrong turn knows it like the others. Of one that was stopped nothing is expected.
        if rank == fault.victim and fault.kind != "wrong":
            continue
        late = fault.is_told_late(rank)
        if late and not lines[rank]:
            continue
        if len(lines[rank]) != 1:
            found.append(f"rank {rank} said {len(lines[rank])} lines")
            continue
        named = set(re.findall(r"\brank (\d+)", lines[rank][0]))
        # Of two ranks that disagree nobody can say which one is wrong.
        right = {"0", "1"} if fault.kind == "wrong" and fault.ranks == 2 else {str(fault.victim)}
        if fault.is_between_communicators:
            right = {str(each) for each in range(fault.ranks)}
        if not (named >= right if late else named == right):
            found.append(f"rank {rank} named {sorted(named)}")
    if fault.program in TRAININGS and (broken := half_written(output_dir)):
        found.append(f"half written: {broken}")
    return found


def run_all(faults, bench, jobs, report):
    def one(fault):
        outcome, output_dir = bench.inject(fault)
        found = complaints(fault, outcome, output_dir)
        for leftover in (output_dir, Path(f"{output_dir}-cache")):
            shutil.rmtree(leftover, ignore_errors=True)
        report(fault, outcome, found)
        return fault, outcome, found

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, faults))


def require_answered(results):
    wrong = [f"{fault}: {'; '.join(found)}\n{outcome.output}" for fault, outcome, found in results if found]
    assert not wrong, "\n\n".join(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=3, help="at the same time")
    arguments = parser.parse_args()

    def report(fault, outcome, found):
        print(f"{'FAILED' if found else 'ok':6} {outcome.seconds:5.1f} s  {fault}  {'; '.join(found)}", flush=True)
        if found:
            print(outcome.output, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        results = run_all(plan(arguments.count, arguments.seed), Bench(folder), arguments.jobs, report)
    failed = [fault for fault, _, found in results if found]
    times = sorted(outcome.seconds for _, outcome, _ in results)
    late = sum(seconds > TIMEOUT + 5 for seconds in times)
    print(f"{len(results)} faults, {len(failed)} of them not answered as they must be, {late} answered later than "
          f"{TIMEOUT + 5} s; from the fault to the end of the job "
          f"{times[len(times) // 2]:.1f} s (median), {times[-1]:.1f} s (longest), with comm_timeout_s = {TIMEOUT}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
