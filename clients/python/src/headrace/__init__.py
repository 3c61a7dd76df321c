"""headrace: a streaming store for analytics and AI, spoken to in Arrow Flight.

`connect` gives a `Database`, which gives each `Table`; a table is written by `append` and `writer`,
read by `scan` and followed by `subscribe`. A table with a primary key is written by `upsert` and
`delete`, and read by `get` and `lookup` too. Everything that goes wrong is an `Error`.

Example:
    >>> import headrace as hr
    >>> with hr.connect(uri) as db:
    ...     points = db.create_table("points", [{"x": 1, "y": 2.0}], exist_ok=True)
    ...     _ = points.append([{"x": 1, "y": 2.0}, {"x": 2, "y": 4.5}])
    ...     points.scan(columns=["y"]).to_arrow().to_pydict()
    {'y': [2.0, 4.5]}
"""

from headrace import aio, errors, testing
from headrace._flight import ServerInfo
from headrace.adapters.polars import scan_polars
from headrace.client import Database, connect
from headrace.errors import (
    AlreadyExists,
    BadRequest,
    BatchTooLarge,
    BinaryNotFound,
    Cancelled,
    ClosedError,
    ColumnNotFound,
    Corrupt,
    DatabaseAlreadyExists,
    DatabaseNotEmpty,
    DatabaseNotFound,
    DeleteRefused,
    DiskFull,
    Draining,
    Error,
    GroupNotFound,
    IndexAlreadyExists,
    IndexNotFound,
    IndexNotReady,
    Internal,
    MemberFenced,
    NotFound,
    OffsetBeyondEnd,
    OffsetError,
    OffsetTrimmed,
    Overloaded,
    PartitionAlreadyExists,
    PartitionNotFound,
    PermissionDenied,
    PlanExpired,
    ProducerFenced,
    ReadOnly,
    SchemaChanged,
    SchemaMismatch,
    SequenceExpired,
    SequenceGap,
    SequenceReused,
    ServerStartError,
    StreamCutError,
    TableAlreadyExists,
    TableNotFound,
    TableReplaced,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnsupportedError,
    UnsupportedType,
)
from headrace.evolve import Column
from headrace.groups import Group, GroupInfo, GroupMember, GroupSubscription
from headrace.options import TableOption
from headrace.partitions import Partition
from headrace.pipeline import WriteResult
from headrace.position import Bound, Position, Positions
from headrace.scan import Scan, ScanSpec
from headrace.server import Server
from headrace.subscribe import Batch, Subscription
from headrace.table import Table
from headrace.write import LastBatch, Writer

__version__ = "0.1.0"

__all__ = [
    "AlreadyExists",
    "BadRequest",
    "Batch",
    "BatchTooLarge",
    "BinaryNotFound",
    "Bound",
    "Cancelled",
    "ClosedError",
    "Column",
    "ColumnNotFound",
    "Corrupt",
    "Database",
    "DatabaseAlreadyExists",
    "DatabaseNotEmpty",
    "DatabaseNotFound",
    "DeleteRefused",
    "DiskFull",
    "Draining",
    "Error",
    "Group",
    "GroupInfo",
    "GroupMember",
    "GroupNotFound",
    "GroupSubscription",
    "IndexAlreadyExists",
    "IndexNotFound",
    "IndexNotReady",
    "Internal",
    "LastBatch",
    "MemberFenced",
    "NotFound",
    "OffsetBeyondEnd",
    "OffsetError",
    "OffsetTrimmed",
    "Overloaded",
    "Partition",
    "PartitionAlreadyExists",
    "PartitionNotFound",
    "PermissionDenied",
    "PlanExpired",
    "Position",
    "Positions",
    "ProducerFenced",
    "ReadOnly",
    "Scan",
    "ScanSpec",
    "SchemaChanged",
    "SchemaMismatch",
    "SequenceExpired",
    "SequenceGap",
    "SequenceReused",
    "Server",
    "ServerInfo",
    "ServerStartError",
    "StreamCutError",
    "Subscription",
    "Table",
    "TableAlreadyExists",
    "TableNotFound",
    "TableOption",
    "TableReplaced",
    "TimedOut",
    "Unauthenticated",
    "Unavailable",
    "UnsupportedError",
    "UnsupportedType",
    "WriteResult",
    "Writer",
    "aio",
    "connect",
    "errors",
    "scan_polars",
    "testing",
]
