"""The page of a watch answer: names from a trace stay text, the numbers are there, a browser draws it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from nostale.report import to_html
from nostale.watch import analyse, diff
from nostale.watch.script import parse

EVIL = "</script><img src=x onerror=alert(1)>\"'&\x1b[31m"
TRACE = """
0 100 7 sys_enter id=10
0 110 7 csd_queue_cpu cpu=1 func=flush_tlb_func csd=0x10
0 111 7 kernel_stack smp_call_function_many_cond do_mprotect_pkey
1 120 8 call_function_single_entry
1 125 8 csd_function_entry func=flush_tlb_func csd=0x10
1 140 8 call_function_single_exit
1 200 8 local_timer_entry
1 201 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
1 230 8 local_timer_exit
"""
# What the page may contain; a name that became markup would bring something else.
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "span", "p", "div", "canvas",
    "script", "table", "thead", "tbody", "tr", "th", "td", "br", "section", "ul", "li",
}  # fmt: skip
ATTRIBUTES = {
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "class",
    "id",
    "tabindex",
    "hidden",
    "type",
    "data-cause",
}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.kind, self.words = set(), set(), [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.kind = dict(attrs).get("type", "code")
            self.scripts.append([self.kind, ""])

    def handle_endtag(self, tag):
        if tag == "script":
            self.kind = None

    def handle_data(self, data):
        if self.kind:
            self.scripts[-1][1] += data
        else:
            self.words.append(data)


def answer(name="sender", **options):
    return analyse(parse(TRACE, comms={7: name, 8: name}), [1], **options)


def test_a_hostile_name_is_text_and_never_markup():
    page = Page(to_html(answer(EVIL, what_if=True)))
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert [kind for kind, _ in page.scripts] == ["application/json", "code"]
    assert any(EVIL.replace("\x1b", "\\x1b") in words for words in page.words)


def test_the_data_block_has_no_character_that_ends_it_and_reads_back():
    text = to_html(answer(EVIL))
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    assert "<" not in block
    read = json.loads(block)
    assert [(row[0], row[1], row[2]) for row in read["breaks"]] == [(1, 0, 20), (1, 80, 30)]
    assert any(EVIL.replace("\x1b", "\\x1b") in one for one in read["texts"])


def test_a_policy_allows_the_one_script_and_no_network():
    text = to_html(answer())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert not re.search(r"https?://|\bsrc=|\bhref=|@import|url\(", text)


def test_the_page_has_what_the_text_has():
    words = " ".join(Page(to_html(answer(what_if=True, gaps=[]))).words)
    for wanted in ("tlb-flush", "mlockall", "arch/x86/mm/tlb.c", "sender-7", "mprotect", "nohz_full", "would vanish"):
        assert wanted in words


def test_a_difference_of_two_recordings_is_a_table():
    words = " ".join(Page(to_html(diff(answer(), answer()))).words)
    assert "as before" in words
    assert "Timeline" not in words


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_runs_the_script_and_not_what_a_name_holds(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(to_html(answer(EVIL)))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
    assert 'style="background: rgb' in done.stdout  # the script has painted the swatches
    assert "<img" not in done.stdout
    assert re.search(r'<canvas [^>]*height="[1-9]', done.stdout)
