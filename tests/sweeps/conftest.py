"""Storages that a study can be kept in, a PostgreSQL server among them."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of a server of this session's own, or of the one that SUBTEXT_TEST_POSTGRESQL names."""
    if given := os.environ.get("SUBTEXT_TEST_POSTGRESQL"):
        yield given
        return
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    initdb = shutil.which("initdb", path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if initdb is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql, or name a server by SUBTEXT_TEST_POSTGRESQL")
    pg_ctl = Path(initdb).with_name("pg_ctl")
    # Not below pytest's own folder, which nobody but its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="subtext-postgresql-"))
    # The server refuses to run as root.
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        shutil.chown(folder, "nobody", "nogroup")

    def run(*command: object) -> None:
        # A file, since the server would keep a pipe open.
        with (folder.parent / f"{folder.name}.log").open("a") as log:
            subprocess.run(
                [str(part) for part in command], check=True, timeout=120, cwd=folder, stdout=log, stderr=log, **other
            )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c full_page_writes=off"
    try:
        run(initdb, "-D", data, "-U", "subtext", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale")
        run(pg_ctl, "-D", data, "-o", options, "-w", "start")
        yield f"postgresql://subtext@127.0.0.1:{port}/postgres"
        run(pg_ctl, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@pytest.fixture(params=["journal", "network_journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """What `storage` is set to: null for a journal, a journal for a network, SQLite, a database on the server."""
    if request.param == "journal":
        return None
    if request.param in ("network_journal", "sqlite"):
        return str(tmp_path / {"network_journal": "study.log", "sqlite": "study.db"}[request.param])
    import sqlalchemy

    server = sqlalchemy.make_url(request.getfixturevalue("postgresql")).set(drivername="postgresql+pg8000")
    name = f"subtext_{uuid.uuid4().hex[:12]}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
