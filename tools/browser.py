"""Drive a real browser without a window, to test what people will see: the page and the widget."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image

try:
    from selenium import webdriver
    from selenium.common.exceptions import (
        ElementNotInteractableException,
        StaleElementReferenceException,
        TimeoutException,
    )
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement
    from selenium.webdriver.support.wait import WebDriverWait
except ModuleNotFoundError:
    webdriver = None  # type: ignore[assignment]

from brainmtl.files import UserError


AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"  # npm install --no-save axe-core
PATIENCE = 300  # seconds until a wait gives up; a busy machine is no failure
T = TypeVar("T")


def wait_for(
    predict_batch: Callable[[], T],  # asked until its answer is true
    what: str,  # what is waited for, for the message
    browser: Any = None,  # an open page, of which the message tells; None: no page
    seconds: float = PATIENCE,  # until giving up
) -> T:  # the true answer
    "Poll until the condition holds; raises `UserError` with the text of the page when it gives up."
    passing = (ElementNotInteractableException, StaleElementReferenceException, URLError, ConnectionError)
    try:
        return WebDriverWait(browser, seconds, 0.1, passing).until(lambda _: predict_batch())
    except TimeoutException:
        page = browser.find_element("tag name", "body").text[-600:] if browser else "nothing"
        raise UserError(f"{what} did not come within {seconds:g} seconds", got=page) from None


def free_port() -> int:  # a port nobody listens on
    "Let the system choose a port of this machine's own address."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def started(
    command: Sequence[str],  # a server's command line
    url: str,  # what it serves once it is up
    folder: str | Path,  # to start it in; gets server.log
) -> Iterator[subprocess.Popen]:  # the running server
    "Start a server, wait for its first response, end it with the block; raises `UserError` with its log if it stops."
    log = Path(folder) / "server.log"

    def up():
        if process.poll() is not None:
            raise UserError(f"{command[0]} ended with code {process.returncode}", got=log.read_text()[-600:])
        return urlopen(url, timeout=PATIENCE)

    with open(log, "w") as out:
        process = subprocess.Popen(
            list(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            wait_for(up, url).close()
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen):
    "Ask a server to stop; what is left of it and of its children after that is killed."
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def find_browser() -> tuple[str, str] | None:  # paths of the browser and of its driver; None: one of them is missing
    "Look for Chromium, or Chrome, and the driver that belongs to it; nothing is downloaded."
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver and webdriver else None


def _flags(width: int, height: int) -> list[str]:
    flags = [
        "headless=new",
        f"window-size={width},{height}",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "no-first-run",
        "disable-component-update",
        "force-device-scale-factor=1",
    ]
    return flags + ["no-sandbox"] * (
        hasattr(os, "geteuid") and os.geteuid() == 0
    )  # the sandbox refuses to be started by root


@contextmanager
def open_browser(
    folder: str | Path,  # where downloads go
    width: int = 1280,  # of the window, pixels
    height: int = 1500,  # of the window, pixels
) -> Iterator["WebDriver"]:  # Selenium's handle
    "Open a browser without a window for the time of a block; raises `UserError` when there is none."
    found = find_browser()
    if not found:
        raise UserError(
            "no browser to test with",
            got="no chromium, chromedriver or selenium",
            hint='apt-get install chromium chromium-driver; pip install -c constraints.txt -e ".[dev]"',
        )
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in _flags(width, height):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    browser = webdriver.Chrome(options, webdriver.ChromeService(found[1]))
    browser.set_page_load_timeout(PATIENCE)
    try:
        yield browser
    finally:
        browser.quit()


def named(
    browser: "WebDriver",  # an open page
    role: str,  # ARIA role: "button", "slider", "tab", "img", …
    name: str,  # the element's accessible name, or its start
) -> "WebElement":  # the first such element that is displayed; a slider may lie unseen behind what is drawn for it
    "Wait for a control and find it as a screen reader does, by what it is and what it is called."
    tags = {"button": "button", "slider": "input[type=range]", "img": "img", "link": "a"}.get(role, "_")

    def seen():
        found = browser.find_elements("css selector", f"[role={role}], {tags}")
        return next(
            (e for e in found if e.accessible_name.startswith(name) and (role == "slider" or e.is_displayed())), None
        )

    return wait_for(seen, f"the {role} called {name!r}", browser)


def press(
    browser: "WebDriver",  # an open page
    element: "WebElement",  # gets the focus
    *keys: str,  # of Selenium's `Keys`, or characters
) -> None:  # nothing
    "Give a control the focus and use the keyboard, no mouse."
    browser.execute_script("arguments[0].focus()", element)
    ActionChains(browser).send_keys(*keys).perform()


def saying(
    browser: "WebDriver",  # an open page
    text: str,  # what must stand somewhere on it
    css: str = "body",  # inside which elements
) -> str:  # all that the first such element says
    "Wait until a displayed element says something."

    def said():
        return next(
            (e.text for e in browser.find_elements("css selector", css) if text in e.text and e.is_displayed()), None
        )

    return wait_for(said, repr(text), browser)


def emulate(
    browser: "WebDriver",  # an open page
    width: int,  # of the view, pixels
    height: int,  # of the view, pixels
    dark: bool = False,  # prefer a dark color scheme?
) -> None:  # nothing
    "Show the page as on another screen, for example a phone of 390 pixels."
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def axe_findings(
    browser: "WebDriver",  # an open page
) -> list[str]:  # one line per serious or critical finding: rule, what it asks for, where
    """Check accessibility with axe-core, frames included. Without the npm package there is nothing to check with, and
    the list is empty; the checks of this repository install it."""
    if not AXE.is_file():
        return []
    program = AXE.read_text(encoding="utf-8")

    def inject():
        browser.execute_script(program)
        for frame in browser.find_elements("css selector", "iframe"):
            browser.switch_to.frame(frame)
            inject()
            browser.switch_to.parent_frame()

    inject()
    found = browser.execute_async_script("axe.run(document).then(arguments[0])")
    return [
        f"{v['id']}: {v['help']}: {v['nodes'][0]['target']}: {v['nodes'][0].get('failureSummary', '')}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def screenshot(
    browser: "WebDriver",  # an open page
    colors: int = 64,  # of the palette; few, so that a notebook stays light
) -> Image.Image:  # what is seen in the window
    "Take the window's image."
    return Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB").quantize(colors)
