"""Servers under measurement: started on loopback in a directory of their own, gone when the run ends."""
import functools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOAD = os.environ.get("STRATA_LOAD", os.path.join(ROOT, "build/release/strata-load"))

# What follows the binary. {memory} becomes the options of a memory limit, or nothing.
REDIS_ARGS = "--bind 127.0.0.1 --port {port} --dir {dir} --save '' --appendonly no --loglevel warning {memory}"
STRATA_ARGS = "--bind 127.0.0.1 --port {port} --dir {dir} --threads {threads} --loglevel warning {memory}"
REDIS_MEMORY = "--maxmemory {maxmemory} --maxmemory-policy {policy}"
# Name, variable with the binary's path or a whole command, default binary, options, memory options, policy.
KNOWN = [
    ("strata", "STRATA_SERVER", os.path.join(ROOT, "build/release/strata-server"), STRATA_ARGS, REDIS_MEMORY, "allkeys-s3fifo"),
    ("redis", "REDIS_SERVER", "redis-server", REDIS_ARGS, REDIS_MEMORY, "allkeys-lru"),
    ("valkey", "VALKEY_SERVER", None, REDIS_ARGS, REDIS_MEMORY, "allkeys-lru"),
    ("pogocache", "POGOCACHE_SERVER", None, "-h 127.0.0.1 -p {port} -t {threads} {memory}", "--maxmemory {maxmemory}", ""),
]


class Kind:
    """A server program: how to start it and what to call it."""

    def __init__(self, name, command, memory, policy):
        self.name, self.command, self.memory, self.policy = name, command, memory, policy

    def argv(self, port, directory, threads, maxmemory, policy):
        memory = self.memory.format(maxmemory=maxmemory, policy=policy or self.policy) if maxmemory else ""
        return shlex.split(self.command.format(port=port, dir=shlex.quote(directory), threads=threads, memory=memory))

    def version(self):
        binary = shlex.split(self.command)[0]
        try:
            out = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
            line = (out.stdout or out.stderr).strip().split("\n")[0]
        except (OSError, subprocess.TimeoutExpired):
            line = "unknown"
        return re.sub(r"\S*/", "", line)


def kinds():
    """Strata and redis-server, and each further peer whose variable is set."""
    found = {}
    for name, variable, default, args, memory, policy in KNOWN:
        value = os.environ.get(variable, default)
        if not value:
            continue
        if "{port}" in value:
            found[name] = Kind(name, value, memory, policy)
        elif shutil.which(value):
            found[name] = Kind(name, shlex.quote(shutil.which(value)) + " " + args, memory, policy)
        else:
            raise SystemExit("%s: no such program (set %s)" % (value, variable))
    return found


def tied(argv):
    """argv, killed with this process even when that has no chance to clean up."""
    return (["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []) + argv


def pinned(cores, argv):
    return ["taskset", "-c", ",".join(map(str, cores))] + argv if cores else argv


FIRST = ["chrt", "--fifo", "1"]


@functools.cache
def may_be_first():
    """Whether a process may run before all others on its core."""
    return shutil.which(FIRST[0]) is not None and subprocess.run(FIRST + ["true"], stderr=subprocess.DEVNULL).returncode == 0


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def with_disk(kind):
    """Strata with its disk tier."""
    return Kind(kind.name + "+l2", kind.command + " --l2 on", kind.memory, kind.policy)


class Client:
    """A blocking RESP connection for the few commands the measurements need."""

    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.file = self.socket.makefile("rb")

    @staticmethod
    def encode(*words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    def call(self, *words):
        self.socket.sendall(self.encode(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.file.read(n + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def info(self):
        text = (self.call("INFO") or b"").decode(errors="replace")
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def close(self):
        self.file.close()
        self.socket.close()


class Server:
    """One running server; use it in a with statement."""

    def __init__(self, kind, threads=1, cores=None, maxmemory=None, policy=None, wrap=None):
        self.kind, self.threads, self.cores = kind, threads, cores
        self.maxmemory, self.policy, self.wrap = maxmemory, policy, wrap or []
        self.process = self.pid = self.directory = None

    def __enter__(self):
        try:
            for attempt in range(3):
                if self.start():
                    return self
            raise SystemExit("%s does not start: %s" % (self.kind.name, self.log_tail()))
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.stop()
        self.launch(tempfile.mkdtemp(prefix="strata-bench-"), free_port())
        return self.serves()

    def launch(self, directory, port):
        self.directory, self.port = directory, port
        argv = self.kind.argv(self.port, self.directory, self.threads, self.maxmemory, self.policy)
        argv = pinned(self.cores, [w.format(dir=self.directory) for w in self.wrap] + argv if not self.traced() else
                      [w.format(dir=self.directory) for w in self.wrap] + tied(argv))
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(tied(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def serves(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                client = Client(self.port, 20)
                client.call("PING")
                client.close()
                self.pid = self.child() if self.traced() else self.process.pid
                return True
            except (OSError, ConnectionError):
                time.sleep(0.02)
        return False

    def crash(self):
        """kill -9, and a new process in the same directory on the same port; returns the seconds until it serves."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        directory, self.directory = self.directory, None
        begin = time.monotonic()
        self.launch(directory, self.port)
        if not self.serves():
            raise SystemExit("%s does not come back: %s" % (self.kind.name, self.log_tail()))
        return time.monotonic() - begin

    def traced(self):
        return bool(self.wrap) and self.wrap[0] == "strace"

    def child(self):
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            return int(f.read().split()[0])

    def log_tail(self):
        try:
            with open(os.path.join(self.directory, "log"), errors="replace") as f:
                return f.read()[-500:].strip()
        except (OSError, TypeError):
            return "no output"

    def end(self, seconds=30):
        """Asks the server to stop, so that a tool around it writes its counts."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            os.kill(self.pid or self.process.pid, signal.SIGTERM)
            self.process.wait(seconds)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            pass

    def stop(self):
        if self.process is not None:
            self.end(5)
            if self.process.poll() is None:
                for pid in filter(None, (self.pid, self.process.pid)):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait()
            self.process = self.pid = None
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def client(self):
        return Client(self.port)


def stop_on_signals():
    """Makes SIGTERM and SIGHUP unwind like ^C, so that with statements clean up."""
    def leave(number, _frame):
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
