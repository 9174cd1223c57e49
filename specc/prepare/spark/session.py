"""Spark itself: how it is started, what it says while it works, and what goes wrong with it as sentences.

Promises: settings of spark-submit and of spark-defaults.conf count, and `--spark-conf` before them; without a
master it is `local[2]`. Nothing of Spark's log comes to the terminal: it goes to a file, which is kept, and
named, where something unexpected fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from specc.prepare.settings import PrepareError

MASTER = "local[2]"
LEAST_JAVA = 17
# Without them Spark would change values, or take one column for another.
FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.useLargeVarTypes": "false",
    "spark.sql.parquet.mergeSchema": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
}
QUIET = {"spark.ui.showConsoleProgress": "false", "spark.ui.enabled": "false"}
_LOG = """status = off
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {path}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{{1}}: %m%n%ex
"""


def check() -> None:
    """Raises PrepareError where Spark cannot run: no pyspark, an old one, no Java, an old one."""
    try:
        found = version("pyspark")
    except PackageNotFoundError:
        raise PrepareError(
            "--engine spark takes pyspark, which is not installed: pip install 'arec[spark]'"
        ) from None
    if int(found.partition(".")[0]) < 4:
        raise PrepareError(f"--engine spark takes pyspark 4 or newer, and {found} is installed: "
                           "pip install --upgrade 'arec[spark]'")  # fmt: skip
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return  # spark-submit has started Java
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    if java is None:
        where = f"JAVA_HOME is {home}, which has no bin/java" if home else "there is no `java` on the PATH"
        raise PrepareError(
            f"Spark takes Java {LEAST_JAVA} or newer, and {where}; install one (such as openjdk-17-jre-"
            "headless), or set JAVA_HOME"
        )
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    if match is not None and int(match[1]) < LEAST_JAVA:
        raise PrepareError(
            f"Spark takes Java {LEAST_JAVA} or newer, and {java} is Java {match[1]}; "
            "set JAVA_HOME to a newer one"
        )


def conf_of(given: tuple[str, ...]) -> dict[str, str]:
    """Parse `key=value` texts. Raises PrepareError."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise PrepareError(f"--spark-conf {text!r} is not KEY=VALUE, such as spark.executor.memory=8g")
        if key.strip() in FIXED and value.strip().lower() != FIXED[key.strip()].lower():
            raise PrepareError(f"--spark-conf {key.strip()} stays {FIXED[key.strip()]}: values would change")
        found[key.strip()] = value.strip()
    return found


def _has_master(conf: Mapping[str, str]) -> bool:
    """Return whether anything but Spark's own default says where to run."""
    if "spark.master" in conf or "PYSPARK_GATEWAY_PORT" in os.environ or os.environ.get("MASTER"):
        return True
    if "--master" in os.environ.get("PYSPARK_SUBMIT_ARGS", ""):
        return True
    folder = os.environ.get("SPARK_CONF_DIR") or os.path.join(os.environ.get("SPARK_HOME", ""), "conf")
    with suppress(OSError):
        text = (Path(folder) / "spark-defaults.conf").read_text(encoding="utf-8")
        return bool(re.search(r"^\s*spark\.master\s", text, re.M))
    return False


@contextmanager
def started(conf: Mapping[str, str]) -> Iterator[Any]:
    """Give a session; one that this started is stopped at the end. Raises PrepareError, in the place of what
    Spark raises."""
    check()
    folder = Path(tempfile.mkdtemp(prefix="specc-spark-"))
    log = folder / "spark.log"
    (folder / "log4j2.properties").write_text(_LOG.format(path=log), encoding="utf-8")
    kept = False
    try:
        with _quietly(folder), warnings.catch_warnings():
            # Of versions of pandas: what is called here hands over Arrow.
            warnings.filterwarnings("ignore", module="pyspark")
            warnings.filterwarnings("ignore", message="PySpark does not", category=FutureWarning)
            yield from _session(conf, folder)
    except Exception as error:
        if not _of_spark(error):
            raise
        kept = log.exists() and log.stat().st_size > 0
        raise PrepareError(sentence(error) + (f"\n(Spark's log: {log})" if kept else "")) from None
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _session(conf: Mapping[str, str], folder: Path) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    before = SparkSession.getActiveSession()
    builder: Any = SparkSession.builder
    java = f"-Dlog4j2.configurationFile=file:{folder / 'log4j2.properties'}"
    settings = {**QUIET, "spark.driver.extraJavaOptions": java, **conf, **FIXED}
    if not _has_master(conf):
        settings["spark.master"] = MASTER
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    for key, value in {"spark.app.name": "specc prepare", **settings}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    if "PYSPARK_GATEWAY_PORT" in os.environ and "spark.log.level" not in conf:
        session.sparkContext.setLogLevel("WARN")  # Java was started by spark-submit, with a log of its own
    try:
        yield session
    finally:
        if before is None:
            session.stop()


@contextmanager
def _quietly(folder: Path) -> Iterator[None]:
    """Send what Java prints while it starts to a file: warnings of hosts and libraries, before there is a
    log."""
    sys.stderr.flush()
    saved = os.dup(2)
    with (folder / "start.log").open("wb") as file:
        os.dup2(file.fileno(), 2)
    own = os.fdopen(os.dup(saved), "w", buffering=1)
    shown, sys.stderr = sys.stderr, own
    try:
        yield
    finally:
        sys.stderr = shown
        os.dup2(saved, 2)
        os.close(saved)
        own.close()


def _of_spark(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("pyspark", "py4j")


def sentence(error: Exception) -> str:
    """Return what Spark raised, in words for who runs the command."""
    text = str(error)
    if "specc.prepare.spark.writing.Unshared" in text or "Unshared:" in text:
        match = re.search(r"Unshared: (\S+)", text)
        where = match[1] if match else "the output folder"
        return (
            f"an executor does not see {where}: -o names a folder that all machines share, such as a mounted "
            "file system"
        )
    if match := re.search(r"ModuleNotFoundError: No module named '(specc\w*|pyarrow|numpy)", text):
        return (
            f"the executors' Python has no {match[1]}: install `arec[spark]` there, or name a Python that "
            "has it (PYSPARK_PYTHON, or --spark-conf spark.pyspark.python=…)"
        )
    if "PYTHON_VERSION_MISMATCH" in text:
        return "the executors' Python is of another version than this one: set PYSPARK_PYTHON to the same"
    if match := re.search(r"PATH_NOT_FOUND\] Path does not exist: (\S+?)\.?(\s|$)", text):
        return f"{match[1]}: there is no such file"
    if match := re.search(r'No FileSystem for scheme "?(\w+)', text):
        return (
            f"Spark has no file system for {match[1]}://; add the package that has it, such as --spark-conf "
            "spark.jars.packages=org.apache.hadoop:hadoop-aws:VERSION for s3a://"
        )
    if match := re.search(r"Class (org\.apache\.hadoop\.fs\S+) not found", text):
        return f"Spark lacks the class {match[1]}; add its package with --spark-conf spark.jars.packages=…"
    if "OutOfMemoryError" in text or "exit code 137" in text or "Python worker exited unexpectedly" in text:
        return (
            "an executor ran out of memory, or was killed; divide the users into more parts with a smaller "
            "--memory, or give executors more (--spark-conf spark.executor.memory=8g, "
            "spark.executor.memoryOverhead=4g)"
        )
    if "Illegal Parquet type: INT64 (TIMESTAMP(NANOS" in text:
        return (
            "a column of the log is a timestamp in nanoseconds, which Spark does not read; write it in "
            "microseconds, or prepare on one machine, without --engine"
        )
    if match := re.search(r"^(?:pyspark\S*|\S*Error|\S*Exception): (.+)$", _python(text), re.M):
        return f"a task failed: {match[1]}"
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"Spark failed: {re.sub(r'^.*?Exception: ', '', first)}"


def _python(text: str) -> str:
    """Return the last line of the traceback of a task in Python."""
    lines = re.findall(r"^(\w[\w.]*(?:Error|Exception|Unfit)[^\n]*)$", text, re.M)
    return lines[-1] if lines else ""


@contextmanager
def watched(session: Any, what: str, progress: Callable[[str, int, int | None], None]) -> Iterator[None]:
    """Tell how many tasks of what is done are over, while the block runs."""
    ended = threading.Event()
    tracker = session.sparkContext.statusTracker()

    def look() -> None:
        while not ended.wait(0.5):
            with suppress(Exception):
                stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
                stages = [stage for stage in stages if stage is not None]
                done = sum(stage.numCompletedTasks for stage in stages)
                progress(what, done, sum(stage.numTasks for stage in stages) or None)

    progress(what, 0, None)
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
