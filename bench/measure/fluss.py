"""Apache Fluss: its three processes, and its clients."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .plan import BUILD, ROOT
from .process import GUARD, Process, free_port
from .record import Measurement

FLUSS = ROOT / "build" / "peers" / "fluss"
FLUSS_SOURCE = ROOT / "bench" / "peers" / "fluss"
WORKLOAD = BUILD / "w1.arrow"
ZOOKEEPER = "org.apache.fluss.shaded.zookeeper3.org.apache.zookeeper.server.quorum.QuorumPeerMain"
COORDINATOR = "org.apache.fluss.server.coordinator.CoordinatorServer"
TABLET = "org.apache.fluss.server.tablet.TabletServer"
JAVA = [
    "java", "-Djava.net.preferIPv4Stack=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
]  # fmt: skip


class Fluss:
    """Apache Fluss with its defaults on free ports: ZooKeeper, a coordinator, one tablet server.

    Replication factor 1, one bucket. It does not sync before it acknowledges.
    """

    def __init__(self) -> None:
        """Fetches what is missing and starts the three processes."""
        subprocess.run([FLUSS_SOURCE / "fetch.sh"], check=True, stdin=subprocess.DEVNULL)
        self.data = Path(tempfile.mkdtemp(prefix="fluss-", dir=BUILD))
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        self.processes: list[Process] = []
        try:
            self._start()
        except BaseException:
            self.stack.close()
            raise

    def _start(self) -> None:
        zookeeper, coordinator, tablet = free_port(), free_port(), free_port()
        self.address = f"127.0.0.1:{coordinator}"
        settings = self.data / "zookeeper.properties"
        settings.write_text(
            f"dataDir={self.data}/zookeeper\nclientPort={zookeeper}\n"
            "clientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n"
        )
        (self.data / "server.yaml").write_text(
            f"zookeeper.address: 127.0.0.1:{zookeeper}\ndefault.bucket.number: 1\n"
            f"default.replication.factor: 1\ndata.dir: {self.data}/data\n"
            f"remote.data.dir: {self.data}/remote\nbind.listeners: FLUSS://{self.address}\n"
            "tablet-server.id: 0\n"
        )
        configured = ["--configDir", str(self.data)]
        self._java("256m", zookeeper, [ZOOKEEPER, str(settings)])
        self._java("512m", coordinator, [COORDINATOR, *configured])
        listener = f"-Dbind.listeners=FLUSS://127.0.0.1:{tablet}"
        self._java("2g", tablet, [TABLET, *configured, listener])

    def _java(self, heap: str, port: int, arguments: list[str]) -> None:
        command = [*JAVA, f"-Xmx{heap}", "-XX:MaxDirectMemorySize=2g", "-cp", f"{FLUSS}/lib/*"]
        process = Process([*command, *arguments], BUILD / "logs" / "fluss.log")
        self.stack.enter_context(process)
        self.processes.append(process)
        process.wait_for_port(port)

    def __enter__(self) -> Fluss:
        """Gives itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes and removes the data."""
        self.stack.close()

    def cpu(self) -> float:
        """Gives the CPU seconds of all three processes."""
        return sum(process.cpu() for process in self.processes)

    def client(self, command: str, table: str, *arguments: str) -> dict[str, Any]:
        """Runs the Python client of this folder."""
        program = [FLUSS / "venv" / "bin" / "python", FLUSS_SOURCE / "client.py", command]
        return self._run([*map(str, program), self.address, table, str(WORKLOAD), *arguments])

    def _run(self, command: list[str]) -> dict[str, Any]:
        with (BUILD / "logs" / "fluss-client.log").open("ab") as errors:
            output = subprocess.run(
                [*GUARD, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, check=True, text=True, timeout=600,
            ).stdout  # fmt: skip
        result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return result

    def keyed(self, command: str, table: str, *arguments: str) -> dict[str, Any]:
        """Runs the Java client of this folder."""
        program = [*JAVA, "-Xmx2g", "-cp", f"{FLUSS}/classes:{FLUSS}/lib/*", "Keyed", command]
        return self._run([*program, self.address, table, *arguments])

    def measured(self, command: str, table: str, *arguments: str) -> Measurement:
        """Runs the client and adds the servers' CPU time."""
        cpu = self.cpu()
        result = self.client(command, table, *arguments)
        return Measurement(
            seconds=result["seconds"],
            rows=result["rows"],
            server_cpu=self.cpu() - cpu,
            client_cpu=result["client_cpu"],
        )
