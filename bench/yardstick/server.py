"""The yardstick: pyarrow's C++ Flight server with all data in memory and nothing on disk.

DoPut keeps the batches of the path's table in RAM and acknowledges each one. DoGet sends a table,
and the projections that were made beforehand, from C++ without a call into Python. It is the upper
bound of what this transport gives on a machine: no durability, no offsets, no projection on read.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.flight as fl


class Yardstick(fl.FlightServerBase):
    """Tables in RAM by name; `name|a,b` is the projection of `name` to the columns a and b."""

    def __init__(self, location: str) -> None:
        """Listens at once."""
        super().__init__(location)
        self.tables: dict[str, pa.Table] = {}

    def do_put(
        self,
        context: fl.ServerCallContext,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        """Keeps each batch and acknowledges it."""
        batches = []
        for chunk in reader:
            batches.append(chunk.data)
            writer.write(b"1")
        self.tables[descriptor.path[0].decode()] = pa.Table.from_batches(batches, reader.schema)

    def do_get(self, context: fl.ServerCallContext, ticket: fl.Ticket) -> fl.RecordBatchStream:
        """Sends a table; batch by batch as it came."""
        return fl.RecordBatchStream(self.tables[ticket.ticket.decode()])

    def do_action(self, context: fl.ServerCallContext, action: fl.Action) -> Iterator[bytes]:
        """Runs `project` {"table", "columns"}, `drop` {"table"} or `rows` {"table"}."""
        body = json.loads(action.body.to_pybytes())
        name = body["table"]
        if action.type == "project":
            self.tables[f"{name}|{','.join(body['columns'])}"] = self.tables[name].select(
                body["columns"]
            )
        elif action.type == "drop":
            self.tables = {
                key: table for key, table in self.tables.items() if key.split("|")[0] != name
            }
        elif action.type != "rows":
            raise fl.FlightServerError(f"no action {action.type!r}")
        yield str(self.tables[name].num_rows if name in self.tables else 0).encode()


def main() -> None:
    """Serves until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:8915")
    Yardstick(f"grpc://{parser.parse_args().listen}").serve()


if __name__ == "__main__":
    main()
