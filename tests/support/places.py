"""Paths: the source, the built programs, Kafka's jars, folders for data.

./run sets the variables. A test that is run by hand uses what ./run has left, or the usual build folder.
"""

import os
import pathlib
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
STATE = TOP / ".state"


class Missing(Exception):
    """Something that ./run would have installed or built is missing."""


def program(name):
    """The path of a program: in $PLIST_BUILD, otherwise the one that was built last."""
    folders = [os.environ["PLIST_BUILD"]] if os.environ.get("PLIST_BUILD") else [STATE / "build-test", STATE / "build", TOP / "build", TOP]
    found = [path for path in (pathlib.Path(folder).resolve() / name for folder in folders) if os.access(path, os.X_OK)]
    if not found:
        raise Missing(f"{name} is not built: run ./run test, or set PLIST_BUILD")
    return str(max(found, key=lambda path: path.stat().st_mtime))


def source():
    """The source tree under a path without blanks or quotes, for configuration files that cannot contain them."""
    return pathlib.Path(os.environ.get("PLIST_SOURCE", TOP))


def kafka_jars():
    """The folder of Kafka's jars, or None."""
    for folder in (os.environ.get("PLIST_KAFKA_LIB"), STATE / "kafka" / "lib"):
        if folder and any(pathlib.Path(folder).glob("kafka_2.13-*.jar")):
            return pathlib.Path(folder)
    return None


def data_folder(prefix):
    """A new folder that other users may enter, for servers that drop root privileges."""
    parent = os.environ.get("PLIST_TEST_FOLDER")
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent or "/var/tmp"))
    folder.chmod(0o711)
    return folder
