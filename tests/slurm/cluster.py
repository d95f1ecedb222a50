"""A SLURM of the test's own: one slurmctld and two slurmd, which play two nodes on this host, in a folder of their own."""

import getpass
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
# Nobody but this user reaches these daemons, so nothing has to be signed.
AuthType=auth/none
CredType=cred/none
# How long a requeued job waits before it may start again; the default is two minutes.
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
# PMIx names its folders by the number of the job alone.
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
{nodes}
PartitionName=batch Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""


def submission_environment(**others):
    """One thread a rank, so that bits do not depend on the machine; as root OpenMPI wants to be told twice."""
    return {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **others}


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """`environment` makes sbatch, squeue and the others speak to this cluster."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = environment

    def run(self, *command, check=True, **options):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60,
                              env={**self.environment, **options.pop("env", {})}, **options)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def submit(self, *arguments, **options):
        """The id of the job that `sbatch ARGUMENTS` makes."""
        return self.run("sbatch", "--parsable", *arguments, **options).stdout.strip()

    def job(self, job_id):
        """What the controller knows of a job or of one array task."""
        shown = self.run("scontrol", "-o", "show", "job", job_id).stdout
        return dict(field.split("=", 1) for field in shown.split() if "=" in field)

    def wait_for_state(self, job_id, *states, timeout=90):
        deadline = time.monotonic() + timeout
        while (state := self.job(job_id)["JobState"]) not in states:
            assert time.monotonic() < deadline, f"job {job_id} is {state}, not {states}\n{self.logs()}"
            time.sleep(0.1)
        return state

    def logs(self):
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def start_cluster(folder, num_nodes=2, cpus=2):
    folder = Path(folder)
    nodes = [f"n{index + 1}" for index in range(num_nodes)]
    host = socket.gethostname().split(".")[0]
    controller_port, *ports = free_ports(1 + num_nodes)
    lines = [f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}"
             for node, port in zip(nodes, ports)]
    for name in ["state", *(f"tmp.{node}" for node in nodes)]:
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, user=getpass.getuser(),
                                                  controller_port=controller_port, nodes="\n".join(lines)))
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    sbin = {**environment, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    daemons = []
    cluster = Cluster(folder, environment)
    try:
        for command in [["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in nodes)]:
            with open(folder / f"{'.'.join(command)}.out", "w") as output:
                daemons.append(subprocess.Popen(command, env=sbin, stdin=subprocess.DEVNULL, stdout=output,
                                                stderr=output, start_new_session=True))
        wait_until_idle(cluster, nodes, daemons)
        yield cluster
    finally:
        stop(cluster, daemons)


def wait_until_idle(cluster, nodes, daemons):
    deadline = time.monotonic() + 60
    while True:
        done = cluster.run("sinfo", "-h", "-N", "-o", "%T", check=False)
        if done.stdout.split() == ["idle"] * len(nodes):
            return
        assert all(daemon.poll() is None for daemon in daemons), cluster.logs()
        assert time.monotonic() < deadline, f"{done.stdout}{done.stderr}\n{cluster.logs()}"
        time.sleep(0.1)


def stop(cluster, daemons):
    """Whatever still runs, the jobs' processes too: all of them have this cluster's SLURM_CONF."""
    for daemon in daemons:
        daemon.send_signal(signal.SIGTERM)
    mine = f"SLURM_CONF={cluster.environment['SLURM_CONF']}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mine in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)
        except OSError:
            pass  # it has just ended
    for daemon in daemons:
        daemon.wait()
