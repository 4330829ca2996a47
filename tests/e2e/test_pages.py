"""The pages in headless Chromium at two widths: nothing to complain of, every figure drawn and inside the window."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

from ssld.mine import mine
from ssld.report import write_report, write_speed
from tests.unit.fake_run import make_result, make_run
from tests.unit.mine_place import job, plain, tiles

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGES = ("report", "speed", "sheet")
WIDTHS = (1280, 400)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium"),
    # Only the browser's own connection is left open, when a test of it ends early.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

# What a reader would miss: elements whose picture is empty, that have no size, or that stick out of the window and
# cannot be scrolled to within their box.
FAULTS = """() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = element => {
    for (let up = element.parentElement; up && up !== document.body; up = up.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const faults = [];
  for (const element of document.querySelectorAll('figure, svg, img, table, .tile, .card, h1, h2, h3, p, pre')) {
    if (element.closest('details:not([open])') && !element.matches('summary')) continue;
    const box = element.getBoundingClientRect();
    const name = `${element.tagName} "${element.textContent.trim().slice(0, 40)}"`;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true}) || box.width < 2 || box.height < 2)
      faults.push(`${name} cannot be seen: ${box.width} x ${box.height}`);
    else if ((box.left < -1 || box.right > wide + 1) && !scrolls(element))
      faults.push(`${name} sticks out of ${wide} px: ${box.left} to ${box.right}`);
    if (element.tagName === 'IMG' && !(element.complete && element.naturalWidth))
      faults.push(`${name} has no picture`);
  }
  if (document.documentElement.scrollWidth > wide)
    faults.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${wide}`);
  return faults;
}"""

# Words of a drawing that lie over each other or outside of its frame.
CRAMPED = """() => {
  const faults = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const frame = svg.closest('figure').getBoundingClientRect();
    const words = [...svg.querySelectorAll('text')].map(t => [t.textContent.trim(), t.getBoundingClientRect()])
      .filter(([text]) => text);
    for (const [text, box] of words)
      if (box.left < frame.left - 1 || box.right > frame.right + 1) faults.push(`"${text}" is cut off`);
    words.forEach(([a, one], i) => words.slice(i + 1).forEach(([b, other]) => {
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 2 && down > 0.4 * Math.min(one.height, other.height)) faults.push(`"${a}" over "${b}"`);
    }));
  }
  return faults;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name -> file: a run's report, the speed of it, and the sheet of a mining."""
    root = tmp_path_factory.mktemp("pages")
    run = make_run(root / "quickstart-0123", make_result())
    write_speed([run], [], root / "speed")
    pool = root / "pool"
    pool.mkdir()
    for number, image in enumerate(
        tiles("flower")[:3] + [plain(c, level) for c in range(3) for level in (90, 170, 210)]
    ):
        image.save(pool / f"{number}.png")
    mine(job(root, pool))
    return {
        "report": write_report(run),
        "speed": root / "speed" / "speed.html",
        "sheet": root / "out" / "sheet.html",
    }


@pytest.fixture(scope="module")
def browser():
    # As root, in a container, Chromium cannot make a sandbox of its own.
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=words)
        yield opened
        opened.close()


@pytest.fixture
def seen(browser, pages, request):
    """The named page at a width, and everything that it complained of or asked for while it was opened."""
    name, width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda asked: heard.append(f"request: {asked.url[:60]}") if asked.url[:5] != "data:" else None)
    page.on("requestfailed", lambda failed: heard.append(f"failed: {failed.url[:60]}"))
    page.goto(pages[name].as_uri(), wait_until="load")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    yield page, heard
    context.close()


@pytest.mark.parametrize(
    "seen",
    [(name, width, scheme) for name in PAGES for width in WIDTHS for scheme in ("light", "dark")],
    indirect=True,
    ids=lambda parts: "-".join(map(str, parts)),
)
def test_a_page_is_whole_at_every_width_and_asks_for_nothing(seen, pages):
    page, heard = seen
    assert heard == [f"request: {page.url[:60]}"]
    assert page.evaluate(FAULTS) == []
    assert page.evaluate(CRAMPED) == []
    assert page.locator("svg, img").count() > 0


@pytest.mark.parametrize("seen", [("report", 400, "light")], indirect=True)
def test_the_looks_themselves_would_notice_a_broken_page(seen):
    """A figure without a size, one that is too wide, a picture that is none, words over words."""
    page, heard = seen
    page.evaluate(
        """() => {
      const first = document.querySelector('main');
      first.insertAdjacentHTML('afterbegin', `<figure id=a style="width:900px">wide</figure><figure id=b
        style="display:none">gone</figure><img alt="none" src="data:image/png;base64,AAAA" style="width:9px;height:9px">
        <figure><svg viewBox="0 0 100 20"><text x=5 y=12>one</text><text x=6 y=12>two</text></svg></figure>`);
      console.error('said aloud');
      return new Promise(done => setTimeout(done, 100));
    }"""
    )
    faults = "\n".join(page.evaluate(FAULTS))
    assert 'FIGURE "wide" sticks out of' in faults
    assert 'FIGURE "gone" cannot be seen' in faults
    assert "has no picture" in faults
    assert "the page is" in faults
    assert '"one" over "two"' in page.evaluate(CRAMPED)
    assert "console: said aloud" in heard
