"""Pages for people name files, modules and folders that are there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("findings/*.md")]
)

LINK = re.compile(r"\]\(([^)\s]+)\)|<img\s[^>]*src=\"([^\"]+)\"")
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`")
"""A file with its folder, in backticks."""
MODULE = re.compile(r"python -m ((?:benchmarks|infra|producer|shared|workers)(?:\.\w+)+)")


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [link or image for link, image in LINK.findall(text)]
    relative = [target.partition("#")[0] for target in targets if "://" not in target]
    folder = (ROOT / page).parent
    assert [target for target in relative if target and not (folder / target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())
    # Other paths with a slash are keys in a bucket.
    ours = [path for path in named if path.endswith(".py") or (ROOT / path.split("/")[0]).is_dir()]
    assert [path for path in ours if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_are_to_be_run_exist(page: str) -> None:
    for module in MODULE.findall((ROOT / page).read_text()):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("package", ["producer", "shared", "workers"])
def test_readme_shows_every_folder_of_a_package(package: str) -> None:
    readme = (ROOT / "README.md").read_text()
    tree = re.search(rf"^{package}/ .*\n((?: .*\n)+)", readme, re.MULTILINE)
    assert tree is not None
    shown = set(re.findall(r"(\w+)/", tree[1]))
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders - shown == set()


@pytest.mark.parametrize("package", ["producer", "shared", "workers"])
def test_architecture_shows_the_import_contracts(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(
        contract["layers"]
        for contract in contracts["contracts"]
        if contract.get("containers") == [package] or f"inside {package}," in contract["name"]
    )
    drawn = " > ".join(
        ", ".join(name.strip().removeprefix(f"{package}.") for name in re.split("[|:]", layer))
        for layer in layers
    )
    assert f"    {drawn}\n" in (ROOT / "docs/architecture.md").read_text()


VARIABLES_AND_COMMANDS = re.compile(r"`((?:jamak |JAMAK_|s3:|sqs:|--|/)[^`]*)`")


def test_both_readmes_say_the_same() -> None:
    """The same commands, variables, rights, links and files, in the same order."""
    english, korean = ((ROOT / name).read_text() for name in ("README.md", "README.ko.md"))

    def skeleton(text: str) -> dict[str, list[str]]:
        code = re.findall(r"```(?:console|mermaid)\n.*?```", text, re.DOTALL)
        links = [link or image for link, image in LINK.findall(text)]
        tree = re.findall(
            r"^ {0,2}([\w.-]+(?:/|\.py|\.\w+)?(?:, [\w.-]+)*)  +\S", text, re.MULTILINE
        )
        return {
            "code": code,
            "links": sorted(set(links) - {"README.md", "README.ko.md"}),
            "named": sorted(set(VARIABLES_AND_COMMANDS.findall(text))),
            "tree": tree,
        }

    assert skeleton(english) == skeleton(korean)
