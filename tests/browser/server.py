"""A Jupyter server for the browser tests: private folders, no news, no updates, nothing of the user's settings."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests import kernelspecs

# Every cell must be in the page, also those out of sight; nothing may pop up over a chart while a test drags in it.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "docmanager-extension/plugin": {"autosave": False, "confirmClosingDocument": False},
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
    "apputils-extension/themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
}
POPUPS = ["@jupyterlab/apputils-extension:announcements", "@jupyterlab/extensionmanager-extension:plugin"]


class JupyterServer:
    """JupyterLab and Notebook 7 on one port of this machine.

    Attributes:
        root: the folder whose notebooks it opens; cells run with it as their working directory.
        url: such as "http://127.0.0.1:40123".
        token: what opens it.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir()
        self.token = secrets.token_hex(16)
        self._runtime = folder / "runtime"
        self._log = folder / "server.log"
        self._write_settings(folder)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.root, env=self._environment(folder), stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self.url = self._wait_for_url(timeout=60)
        except BaseException:
            self.close()
            raise

    def _write_settings(self, folder: Path) -> None:
        for name, settings in SETTINGS.items():
            plugin, _, file = name.partition("/")
            target = folder / "settings" / "@jupyterlab" / plugin / f"{file}.jupyterlab-settings"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(settings))
        page_config = folder / "config" / "labconfig" / "page_config.json"
        page_config.parent.mkdir(parents=True)
        page_config.write_text(json.dumps({"disabledExtensions": dict.fromkeys(POPUPS, True)}))
        for generation in kernelspecs.NAMES:
            kernelspecs.write(folder / "data" / "kernels", generation)

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",
            f"--ServerApp.root_dir={self.root}",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.extension_manager=readonly",
            "--LabApp.news_url=None",
            "--expose-app-in-browser",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]

    def _environment(self, folder: Path) -> dict[str, str]:
        private = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        return {**os.environ, **{name: str(folder / sub) for name, sub in private.items()}}

    def _wait_for_url(self, timeout: float) -> str:
        """The server picks a free port itself and writes it down; then it is asked until it answers."""
        deadline = monotonic() + timeout
        while monotonic() < deadline and self._process.poll() is None:
            for file in self._runtime.glob("jpserver-*.json"):
                try:
                    url = f"http://127.0.0.1:{json.loads(file.read_text())['port']}"
                    self._request(url, "/api/status")
                except (json.JSONDecodeError, URLError, ConnectionError):
                    continue
                return url
            sleep(0.05)
        raise RuntimeError(f"JupyterLab did not start within {timeout:g} s. Its log:\n{self._log.read_text()}")

    def _request(self, url: str, path: str, method: str = "GET") -> bytes:
        request = Request(url + path, method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=30) as response:
            return bytes(response.read())

    @property
    def log(self) -> str:
        """Everything the server and its kernels have written so far."""
        return self._log.read_text()

    def shut_down_kernels(self, notebooks: Collection[str]) -> None:
        """End the kernels of these notebooks, so that one test's does not train behind the next."""
        for session in json.loads(self._request(self.url, "/api/sessions")):
            if session["path"] in notebooks:
                self._request(self.url, f"/api/sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        """End the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
