"""Bytes of the database for each scanned image: `python -m tests.bench.storage [--images 3000] [--url …]`.

One picture is scanned with every detector; its rows are then stored again and again under new ids, hashes and embeddings.
Without `--url` on a new SQLite file, and with one on an empty PostgreSQL database. Prints JSON.
"""

import argparse
import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.database import Database
from moderation.scans.service import Upload
from moderation.settings import Settings, settings
from moderation.tables import Measurement, Scan, StoredImage, new_id
from tests.factories import encode, picture

SIZES = {
    "sqlite": "select (select page_count from pragma_page_count) * (select page_size from pragma_page_size)",
    "postgresql": "select pg_database_size(current_database())",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--url", default="")
    parser.add_argument("--picture", type=Path, help="an image to scan; default: one that is drawn")
    args = parser.parse_args()
    data = args.picture.read_bytes() if args.picture else encode(picture())
    with tempfile.TemporaryDirectory() as folder:
        config = Settings(
            _env_file=None,
            data_dir=folder,
            models_dir=settings().models,
            image_keys=new_secret("bench"),
            database_url=args.url,
        )
        print(json.dumps(measure(Application(config), data, args.images)))


def measure(application: Application, data: bytes, images: int) -> dict[str, Any]:
    """Bytes that each further image adds."""
    database = application.database
    database.migrate()
    scan = application.scans.scan("default", Upload(data))
    with database.read() as session:
        stored = session.get_one(Scan, scan.id)
        rows = [values(row) for row in (stored.image, stored.measurement, stored)]
    before = size(database)
    store(database, rows, images)
    each = (size(database) - before) / images
    kind = database.engine.dialect.name
    database.close()
    return {"database": kind, "images": images, "bytes_an_image": round(each)}


def values(row: DeclarativeBase) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in sa.inspect(type(row)).column_attrs}


def size(database: Database) -> int:
    with database.engine.connect() as connection:
        return int(connection.exec_driver_sql(SIZES[database.engine.dialect.name]).scalar_one())


def store(database: Database, rows: list[dict[str, Any]], images: int) -> None:
    """The rows again, as many times, as of other images."""
    image, measurement, scan = rows
    generator = np.random.default_rng(0)
    made: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = []
    for number in range(images):
        ids = {"image_id": new_id("img"), "measurement_id": new_id("msr")}
        own = {name: generator.bytes(len(image[name])) for name in ("pdq", "embedding") if image[name]}
        made.append(
            (
                {**image, **own, "id": ids["image_id"], "sha256": uuid.uuid4().hex * 2},
                {**measurement, "id": ids["measurement_id"], "image_id": ids["image_id"]},
                {**scan, **ids, "id": new_id("scan"), "external_id": f"upload-{number}"},
            )
        )
    with database.write() as session:
        for table, kind in enumerate((StoredImage, Measurement, Scan)):
            session.execute(sa.insert(kind), [row[table] for row in made])


if __name__ == "__main__":
    main()
