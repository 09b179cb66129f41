"""Starts Strata and redis-server on unix sockets and free ports, in directories of their own."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from resp import Conn

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STRATA = os.environ.get("STRATA_SERVER", ROOT + "/build/asan/strata-server")
TSAN = os.environ.get("STRATA_SERVER_TSAN", STRATA)
RELEASE = os.environ.get("STRATA_RELEASE", STRATA)


def free_port():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    s.close()
    return port


class Server:
    prefix = []  # of the program's arguments: what runs it

    def __init__(self, binary, *directives, dir=None, env=None, file=None):
        self.dir = dir or tempfile.mkdtemp(prefix="strata-test-")
        self.own_dir = dir is None
        self.sock = self.dir + "/s"
        self.log = open(self.dir + "/log", "ab")
        self.binary = binary
        self.file = [file] if file else []
        self.directives = [str(d) for d in directives]
        if "strata" in os.path.basename(binary) and "--http-port" not in self.directives:
            self.directives += ["--http-port", "0"]
        self.env = dict(os.environ, **(env or {}))
        self.start()

    def start(self):
        for _ in range(5):
            if self.start_on(free_port()):
                return
        raise SystemExit("%s did not start: %s" % (self.binary, self.output()[-2000:]))

    def start_on(self, port):
        self.port = port
        args = [self.binary] + self.file + ["--port", str(self.port), "--unixsocket", self.sock, "--dir", self.dir]
        self.proc = subprocess.Popen(self.prefix + args + self.directives, stdout=self.log, stderr=self.log, env=self.env)
        return self.wait_ready()

    def wait_ready(self):
        deadline = time.time() + 30
        while time.time() < deadline:
            if self.proc.poll() is not None:
                return False
            try:
                c = Conn(self.sock)
                ready = not str(c.cmd("PING")).startswith("LOADING")
                c.close()
                if ready:
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def conn(self, tcp=False):
        return Conn(("127.0.0.1", self.port) if tcp else self.sock)

    def output(self):
        with open(self.dir + "/log", "rb") as f:
            return f.read().decode("utf-8", "replace")

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        """Orderly; returns what was wrong, or None."""
        wrong = None
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                code = self.proc.wait(30)
                if code != 0:
                    wrong = "exit code %d" % code
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                wrong = "did not stop"
        else:
            wrong = "had ended with %d" % self.proc.returncode
        text = self.output()
        for word in ("Sanitizer", "runtime error", "CHECK failed"):
            if word in text:
                wrong = "log says %s:\n%s" % (word, text[-3000:])
        self.log.close()
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        return wrong


def strata(*directives, binary=None, dir=None, env=None):
    return Server(binary or STRATA, "--enable-debug-command", "yes", *directives, dir=dir, env=env)


def redis(*directives, dir=None):
    return Server("redis-server", "--save", "", "--enable-debug-command", "yes", *directives, dir=dir)


class Report:
    def __init__(self):
        self.failed = False
        self.filter = sys.argv[1:]

    def wanted(self, name):
        return not self.filter or any(f in name for f in self.filter)

    def ok(self, name):
        print("ok %s" % name, flush=True)

    def bad(self, name, reason):
        self.failed = True
        print("not ok %s: %s" % (name, str(reason).replace("\n", "\n  ")), flush=True)

    def skip(self, name, reason):
        print("skip %s: %s" % (name, reason), flush=True)

    def check(self, name, condition, reason=""):
        if condition:
            self.ok(name)
        else:
            self.bad(name, reason)

    def run(self, name, fn):
        if not self.wanted(name):
            return
        try:
            fn()
            self.ok(name)
        except AssertionError as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            self.bad(name, "%s (line %d: %s)" % (e, where.lineno, where.line))
        except Exception as e:  # a dead server shows as an exception of the client
            self.bad(name, "%s: %s" % (type(e).__name__, e))

    def end(self):
        sys.exit(1 if self.failed else 0)
