"""A headless Chromium, driven by its DevTools protocol over a pair of pipes: no port, nothing but the standard library."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

# The second line keeps the browser from calling home: a closed network would refuse it, again and again.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", "--mute-audio",
         "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--no-default-browser-check", "--disable-default-apps", "--remote-debugging-pipe"]
WAIT = 60


def binary():
    return shutil.which("chromium")


class Browser:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="strata-browser-")
        out_r, self.out = os.pipe()
        self.inp, in_w = os.pipe()

        def wire():  # the browser reads 3 and writes 4
            a, b = os.dup(out_r), os.dup(in_w)
            os.dup2(a, 3)
            os.dup2(b, 4)

        env = dict(os.environ, HOME=self.dir, TZ="UTC")
        self.proc = subprocess.Popen([binary()] + FLAGS + ["--user-data-dir=" + self.dir, "about:blank"], preexec_fn=wire, close_fds=False, env=env,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(out_r)
        os.close(in_w)
        self.buf, self.next_id, self.events = b"", 0, []

    def close(self):
        try:
            self.call("Browser.close")
        except (AssertionError, OSError):
            pass
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        os.close(self.out)
        os.close(self.inp)
        shutil.rmtree(self.dir, ignore_errors=True)

    def message(self, deadline):
        while b"\0" not in self.buf:
            left = deadline - time.time()
            assert left > 0, "the browser does not answer"
            if select.select([self.inp], [], [], left)[0]:
                data = os.read(self.inp, 1 << 20)
                assert data, "the browser has ended"
                self.buf += data
        one, self.buf = self.buf.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, session=None, **params):
        self.next_id += 1
        request = {"id": self.next_id, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        deadline = time.time() + WAIT
        while True:
            m = self.message(deadline)
            if m.get("id") == self.next_id:
                assert "error" not in m, "%s: %s" % (method, m.get("error"))
                return m["result"]
            if "method" in m:
                self.events.append(m)

    def page(self, url, width=1280, height=900, dark=False, phone=False):
        return Page(self, url, width, height, dark, phone)


class Page:
    def __init__(self, browser, url, width, height, dark, phone):
        self.browser, self.problems = browser, []
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")
        self.size(width, height, phone)
        self.dark(dark)
        self.call("Page.navigate", url=url)

    def call(self, method, **params):
        out = self.browser.call(method, self.session, **params)
        for e in self.browser.events:
            self.note(e)
        self.browser.events = []
        return out

    def note(self, e):
        p = e.get("params", {})
        if e["method"] == "Runtime.exceptionThrown":
            d = p["exceptionDetails"]
            self.problems.append(("script", d.get("exception", {}).get("description") or d.get("text")))
        elif e["method"] == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.problems.append((p["entry"]["source"], p["entry"]["text"]))
        elif e["method"] == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
            self.problems.append(("console", " ".join(str(a.get("value")) for a in p["args"])))

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)

    def dark(self, on):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def eval(self, script):
        out = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in out, "%s: %s" % (script, out.get("exceptionDetails"))
        return out["result"].get("value")

    def text(self, selector):
        return self.eval("(document.querySelector(%s) || {innerText: ''}).innerText" % json.dumps(selector))

    def wait(self, script, what=None):
        deadline = time.time() + WAIT
        while True:
            try:
                value, why = self.eval(script), ""
            except AssertionError as e:  # not loaded yet
                value, why = None, str(e)
            if value:
                return value
            assert time.time() < deadline, "never came: %s; %s; problems %s; shown: %s" % (what or script, why, self.problems, self.eval("document.body.innerText")[:500])
            time.sleep(0.05)

    def key(self, name, code=None):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=code or name, windowsVirtualKeyCode=KEYS.get(name, 0))

    def shot(self, path, whole=True):
        more = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}, "captureBeyondViewport": True}
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)


KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
