"""The documentation: its code runs and prints what it shows, and the site builds."""

from __future__ import annotations

import html
import inspect
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import optional  # it imports JAX, which pages may use, before a test begins
import pytest
from processes import PATIENCE

import gradlab
from gradlab import BACKENDS
from gradlab.command.main import main
from gradlab.datasets.mnist import ARCHIVES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "api" not in page.parts)


NEEDED = {"how-to/pytorch-jax.md": ("torch", "jax")}
"""Packages that a page needs."""


class Block(NamedTuple):
    """A fenced block: its language, the name of its file, its text."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    fenced = r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$'
    found = re.findall(fenced, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(*block) for block in found]


def named(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def with_code(*, title: bool) -> list[Path]:
    return [
        page
        for page in PAGES
        if any(block.language == "python" and bool(block.title) is title for block in blocks(page))
    ]


@pytest.fixture
def a_folder_of_its_own(tmp_path, monkeypatch):
    """Run each page in an empty folder, with files in MNIST's form next to it."""
    archives = tmp_path / "archives"
    archives.mkdir()
    rng = np.random.default_rng(0)
    for name, n in zip(ARCHIVES, (200, 200, 20, 20), strict=True):
        shape = (n,) if "labels" in name else (n, 28, 28)
        content = rng.integers(0, 10 if "labels" in name else 256, shape, np.uint8)
        header = bytes([0, 0, 8, content.ndim]) + np.array(shape, ">u4").tobytes()
        (archives / name).write_bytes(header + content.tobytes())
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GRADLAB_DATA", str(archives))
    return folder


def lasting(text: str) -> str:
    """Return an output without the parts that differ between machines: error bars, and costs."""
    text = re.sub(r"± \S+", "± #", text)
    text = re.sub(r"relative errors (from|up to) \S+", "#", text)
    text = re.sub(r"[\d,]+ evaluations|\S+ s$", "#", text, flags=re.M)
    return " ".join(text.split())


def test_there_are_pages_with_code():
    assert len(with_code(title=False)) >= 7
    assert len(with_code(title=True)) >= 2


@pytest.mark.parametrize("page", with_code(title=False), ids=named)
@pytest.mark.usefixtures("a_folder_of_its_own")
def test_the_code_of_a_page_runs_and_prints_what_is_shown(page, monkeypatch):
    if any("from scipy" in block.text for block in blocks(page)):
        pytest.importorskip("scipy", reason="SciPy is not installed")
    for backend in NEEDED.get(named(page), ()):
        if not optional.is_installed(backend):
            pytest.skip(f"{optional.LIBRARIES[backend]} is not installed")
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # a dataclass looks up its module
    printed = ""
    for block in blocks(page):
        if block.language == "python" and not block.title:
            out = StringIO()
            with redirect_stdout(out):
                exec(compile(block.text, named(page), "exec"), vars(module))
            printed = out.getvalue()
        elif block.language == "text" and printed:
            assert lasting(block.text) == lasting(printed), printed
            printed = ""
    assert not printed, f"not shown: {printed}"


@pytest.mark.slow
@pytest.mark.parametrize("page", with_code(title=True), ids=named)
@pytest.mark.usefixtures("a_folder_of_its_own")
def test_the_files_of_a_page_run_and_print_what_is_shown(page):
    python, printed = [sys.executable], ""
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
            printed = output([*python, block.title])
        elif block.language == "text" and printed:
            assert lasting(block.text) == lasting(printed), printed
            printed = ""
        elif block.language == "sh":
            for line in block.text.splitlines():
                output([*python, "-m", *shlex.split(line)])
    assert not printed, f"not shown: {printed}"


def output(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def commands() -> list[str]:
    lines = [
        line
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    return sorted({line for line in lines if line.startswith("gradlab ")})


@pytest.mark.parametrize("line", commands())
def test_every_command_exists_with_its_options(line, capsys, monkeypatch):
    _, verb, *rest = shlex.split(line)
    monkeypatch.setattr("sys.argv", ["gradlab", verb, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    helped = capsys.readouterr().out
    assert all(word in helped for word in rest if word.startswith("--"))


def test_every_backend_is_documented():
    told = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    assert [name for name in BACKENDS if f"`{name}`" not in told] == ["autograd-forward"]
    listed = (DOCS / "api" / "gradients.md").read_text(encoding="utf-8")
    assert [b.__name__ for b in BACKENDS.values() if f".{b.__name__}\n" not in listed] == []


def test_every_public_name_is_on_an_api_page():
    told = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    public = {name: getattr(gradlab, name) for name in dir(gradlab) if not name.startswith("_")}
    offered = {name: value.__module__ for name, value in public.items() if callable(value)}
    assert len(offered) >= 25
    missing = [
        name
        for name, module in offered.items()
        if f".{name}\n" not in told and f"::: {module}\n" not in told
    ]
    assert missing == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="MkDocs is not installed")
    folder = tmp_path_factory.mktemp("docs") / "site"
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 16
    for page in pages:
        source = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="([^"]+)"', source)
        elsewhere = [url for url in fetched if re.match(r"(?:https?:)?//", url)]
        assert elsewhere == [], page


def described_parameters(markup):
    """Return the rows of the tables of parameters, which have four cells."""
    for row in re.findall(r'<tr class="doc-section-item">(.*?)</tr>', markup, re.DOTALL):
        cells = [plain(cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)]
        if len(cells) == 4:
            yield cells


def plain(markup):
    """Return the text of some HTML, without spaces."""
    return re.sub(r"\s+", "", html.unescape(re.sub(r"<[^>]+>", "", markup)))


@pytest.mark.slow
def test_each_parameter_has_its_own_default_and_type(site):
    told = 0
    pages = [path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html")]
    for name, function in vars(gradlab).items():
        if not callable(function) or not (function.__doc__ or "").count("Parameters\n"):
            continue
        room = ".".join(function.__module__.split(".")[:2])
        heading = rf'<h\d id="(?:{room}[\w.]*|gradlab)\.{function.__name__}"'
        (page,) = [page for page in pages if re.search(heading, page)]
        described = re.split(r"<h\d", re.split(heading, page)[1])[0]
        parameters = inspect.signature(function).parameters
        for argument, kind, _, default in described_parameters(described):
            expected = parameters[argument.lstrip("*")]
            if expected.kind in (expected.VAR_POSITIONAL, expected.VAR_KEYWORD):
                continue
            required = expected.default is expected.empty
            shown = default.replace('"', "'")
            wanted = "required" if required else plain(repr(expected.default))
            assert shown == wanted, (name, argument)
            assert kind, (name, argument)
            told += 1
    assert told >= 30


@pytest.mark.slow
def test_the_page_of_the_command_has_the_help_of_each(site):
    page = html.unescape((site / "command.html").read_text(encoding="utf-8"))
    for verb in ("compare", "train", "diagnose", "evaluate", "check", "bench", "demo"):
        assert f"Usage: gradlab {verb} " in re.sub(r"<[^>]+>", "", page), verb


@pytest.mark.slow
def test_parameters_that_are_described_together_get_their_defaults_and_types(tmp_path):
    griffe = pytest.importorskip("griffe", reason="MkDocs is not installed")
    (tmp_path / "there.py").write_text(
        "def f(a: int, b: str = 'x', c: float = 2.0):\n"
        '    """Do.\n\n    Parameters\n    ----------\n    a, b\n        Two.\n'
        '    c, d : number\n        More.\n    """\n'
    )
    sys.path.insert(0, str(DOCS))
    try:
        from parameters import OwnDefaults
    finally:
        sys.path.remove(str(DOCS))
    module = griffe.load(
        "there", search_paths=[tmp_path], docstring_parser="numpy",
        extensions=griffe.load_extensions("dataclasses", OwnDefaults),
    )  # fmt: skip
    (_, section) = module["f"].docstring.parsed
    assert [(p.name, str(p.annotation), p.default) for p in section.value[:3]] == [
        ("a", "int", None), ("b", "str", "'x'"), ("c", "number", "2.0"),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_tutorial_is_a_page_with_its_pictures_and_reports(site):
    page = (site / "tutorial.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img alt="Figure: [^"]+" src="([^"]+)"', page)
    assert len(pictures) >= 12
    assert all((site / picture).stat().st_size > 1000 for picture in pictures)
    assert "evaluations per gradient</th>" in page
    assert "416 of 610 entries of the gradient are wrong" in page
