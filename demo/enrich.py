"""The part with keyed tables: flights are joined with their planes and airports as they stream."""

from __future__ import annotations

import time
from collections import Counter

import headrace as hr
import pyarrow as pa
from flights import load_keyed
from output import check, say, title


def enrich(db: hr.Database, rows: int) -> None:
    """Look up the plane and the destination of each flight of the stream."""
    title(3, "Keyed tables: planes and airports, and the stream of flights joined with both")
    planes = keyed(db, "planes", "tailnum")
    airports = keyed(db, "airports", "faa")
    joined, found, seats = 0, 0, Counter[str]()
    began = time.perf_counter()
    with db["demo.flights"].subscribe(
        columns=["tailnum", "dest", "distance"], start="earliest", timeout=5
    ) as stream:
        for batch in stream:
            flights = batch.to_arrow()
            with_plane = planes.lookup(
                flights, ["manufacturer", "seats"], carry=True, found="plane_known"
            )
            whole = airports.lookup(
                with_plane.rename_columns({"dest": "faa"}), ["name"], carry=True, prefix="to_"
            )
            joined += whole.num_rows
            found += whole["plane_known"].to_pylist().count(True)
            count_seats(whole, seats)
            if joined >= rows:
                break
    seconds = time.perf_counter() - began
    say(
        f"  joined    {joined:,} flights in {seconds:.2f} s with two lookups each: "
        f"{2 * joined / seconds:,.0f} lookups/s"
    )
    airport, most = seats.most_common(1)[0]
    say(f"  and what they say: {most:,} seats flew to {airport}, the most of all")
    check(joined == rows, f"every flight has its row; the plane is known for {found:,} of them")
    change(planes)


def keyed(db: hr.Database, name: str, key: str) -> hr.Table:
    """Make a table with a primary key of one of the real files."""
    data = load_keyed(name, key)
    table = db.create_table(f"demo.{name}", data.schema, primary_key=[key], buckets=2)
    table.upsert(data)
    check(table.count() == data.num_rows, f"demo.{name} has {data.num_rows:,} rows, one a {key}")
    return table


def count_seats(flights: pa.Table, seats: Counter[str]) -> None:
    """Add up the seats by destination."""
    summed = flights.group_by("to_name").aggregate([("seats", "sum")])
    for row in summed.to_pylist():
        if row["to_name"] is not None:
            seats[row["to_name"]] += row["seats_sum"] or 0


def change(planes: hr.Table) -> None:
    """Change one column of one row, and look at what the changelog says."""
    tailnum = "N14228"
    old = planes.get(tailnum)
    position = planes.positions().latest
    planes.upsert({"tailnum": [tailnum], "seats": [150]}, columns=["seats"])
    changes = planes.changelog(start=position, columns=["tailnum", "seats"]).to_arrow().to_pylist()
    text = ", ".join(f"{row['_change_type']} {row['seats']} seats" for row in changes)
    say(f"  changelog {tailnum}: {text}")
    new = planes.get(tailnum)
    check(
        old is not None and new == old | {"seats": 150},
        f"{tailnum} has 150 seats now, and is a {new and new['manufacturer']} still",
    )
