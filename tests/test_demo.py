"""The demo pipeline: what its functions measure, and that it runs alike on every runner."""

import json
import os
import re
import shutil
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
from programs import ended

from processes import TaskStatus
from processes.cli import main
from processes.demo import measures
from processes.demo.pipeline import build

LIBRARY = {
    "shapes/__init__.py": "from .circle import area\n",
    "shapes/circle.py": """
        import maths

        def area(radius):
            if radius < 0:
                raise ValueError
            return maths.PI * radius * radius
    """,
    "maths.py": "PI = 3\n",
    "tests/test_maths.py": "import maths\n",
    "not-a-module.py": "import maths\n",
}


@pytest.fixture
def write(tmp_path):
    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def parse(write):
    def parse(text):
        return measures.parse({"pkg.mod": str(write({"pkg/mod.py": text}) / "pkg/mod.py")})["pkg.mod"]

    return parse


@pytest.fixture
def tokenize(write):
    def tokenize(**texts):
        root = write({f"{name}.py": text for name, text in texts.items()})
        return {name: measures.tokenize_statements({name: str(root / f"{name}.py")}) for name in texts}

    return tokenize


def test_packages_are_found_largest_first_without_tests_and_what_is_no_module(write):
    root = write(LIBRARY)
    packages = measures.find_packages(root)
    assert list(packages) == ["shapes", "maths"]
    assert packages["shapes"] == {
        "shapes": str(root / "shapes" / "__init__.py"),
        "shapes.circle": str(root / "shapes" / "circle.py"),
    }


def test_of_names_that_differ_by_case_alone_the_largest_is_ranked(write):
    root = write({"Cython/__init__.py": "x = 1\n", "cython.py": "\n", "other.py": "x = 12\n"})
    (root / "broken.py").symlink_to(root / "nowhere")
    assert list(measures.find_packages(root)) == ["other", "Cython"]
    assert len(build(root).tasks) == 3 * 2 + 3


def test_a_folder_without_source_files_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no Python source files in .*test_a_folder"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("body", "depths"),
    [
        ("pass", ()),
        ("if a: pass", (0,)),
        ("if a:\n    for b in c: pass", (0, 1)),
        ("if a: pass\nelif b: pass\nelif c:\n    while d: pass", (0, 0, 0, 1)),
        ("a = b and c or d", (0, 0)),
        ("def inner():\n    if a: pass", (1,)),
        ("a = [b for b in c if b]", (0,)),
        ("try: pass\nexcept OSError:\n    a = b if c else d", (0, 1)),
    ],
)
def test_each_decision_of_a_function_is_found_with_its_depth(parse, body, depths):
    text = "def function():\n" + textwrap.indent(body, "    ")
    (function,) = parse(text).functions
    assert function.decision_depths == depths
    assert (function.first_line, function.last_line) == (1, text.count("\n") + 1)


def test_methods_and_functions_behind_a_condition_are_found_under_their_full_names(parse):
    outline = parse("""
        class Outer:
            class Inner:
                def method(self): pass
        if a:
            async def conditional(): pass
        else:
            def other():
                def not_counted_twice(): pass
    """)
    assert [function.name for function in outline.functions] == ["Outer.Inner.method", "conditional", "other"]


def test_imports_are_made_absolute(parse):
    outline = parse("""
        import os.path, json as j
        from .sibling import name
        from . import cousin
        def late():
            from .deeper.still import name
    """)
    assert outline.imports == ("os.path", "json", "pkg.sibling", "pkg", "pkg.deeper.still")


def test_the_root_may_be_the_folder_of_a_package(write):
    root = write({"mod.py": "from .sibling import name\nfrom . import cousin\nfrom ..far import away\n"})
    assert measures.parse({"mod": str(root / "mod.py")})["mod"].imports == ("sibling", "far")


def test_layout_comments_and_docstrings_make_no_difference_to_fingerprints(tokenize):
    tokens = tokenize(
        tight='def f(a,b):\n  """Say."""\n  return a+b',
        wide="def f(a, b):  # of course\n\n    'Tell.'\n    return a \\\n        + b  # the sum",
    )
    tight, wide = tokens["tight"]["tight"], tokens["wide"]["wide"]
    assert tight.fingerprints == wide.fingerprints
    assert list(tight.lines) == [1, 3]
    assert list(tight.token_counts) == [8, 4]


def test_a_comment_at_the_very_end_of_a_file_is_no_statement(tokenize):
    (statements,) = tokenize(mod="a = 1\n# the end")["mod"].values()
    assert list(statements.lines) == [1]


def test_complexity_names_the_worst_function_and_weighs_the_tangled_ones(write):
    deep = (
        "".join(f"{'    ' * depth}if a:\n" for depth in range(1, 6)) + "    " * 6 + "pass\n"
    )  # 1+2+3+4+5 = 15
    root = write({"pkg.py": f"def easy():\n    return 1\ndef hard():\n{deep}"})
    modules = {"pkg": str(root / "pkg.py")}
    complexity = measures.measure_complexity(
        "pkg", measures.parse(modules), measures.tokenize_statements(modules)
    )
    assert complexity == measures.Complexity(
        package="pkg",
        statements=9,
        tokens=5 + 2 + 5 + 5 * 3 + 1,
        tangled_tokens=5 + 5 * 3 + 1,
        worst_function="pkg.hard",
        worst_complexity=15,
    )


def test_copies_are_runs_of_six_equal_statements_anywhere_in_the_library(tokenize):
    six = "".join(f"a{i} = {i}\n" for i in range(6))
    seven = six + "a6 = 6\n"
    five = "".join(f"b{i} = {i}\n" for i in range(5))
    tokens = tokenize(one=seven + "x = 1\n", two=seven, three=five, four=five + "y = 1\n", empty="")
    assert measures.find_copies(*tokens.values()) == {
        "one": 7 / 8,
        "two": 1.0,
        "three": 0.0,
        "four": 0.0,
        "empty": 0.0,
    }


def test_what_more_packages_lean_on_weighs_more():
    def importing(name, *imports):
        return {name: measures.Outline(functions=(), imports=imports)}

    weights = measures.weigh_imports(
        importing("base"),
        importing("middle", "base", "unknown"),
        importing("top", "middle.part", "top.own"),
        importing("aside", "base"),
    )
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["base"] > weights["middle"] > weights["top"] == weights["aside"]
    assert weights["middle"] == pytest.approx(
        weights["top"] * 1.85
    )  # its own share, and 0.85 of its importer's


def test_the_ranking_is_by_the_mean_place_in_four_measures():
    def complexity(package, statements, tangled):
        return measures.Complexity(package, statements, 100, tangled, f"{package}.f", 7)

    ranking = measures.rank(
        {"easy": 0.0, "hard": 0.5, "also-easy": 0.0},
        {"easy": 0.2, "hard": 0.6, "also-easy": 0.2},
        complexity("easy", 10, 0),
        complexity("hard", 20, 50),
        complexity("also-easy", 10, 0),
    )
    assert [ranked["package"] for ranked in ranking] == ["hard", "also-easy", "easy"]
    assert ranking[0]["score"] == pytest.approx(100 * 2 / 3)  # two of three are easier, in every measure
    assert ranking[0]["tangled"] == 0.5
    assert ranking[2]["score"] == 0


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_every_runner_finds_the_same_as_the_sequential_one(write, shared_workers, runner):
    process = build(write(LIBRARY))
    report = process.run(runner=runner)
    assert set(report.results) == {task.name for task in process.tasks}
    assert report.results == process.run(runner="sequential").results
    assert [ranked["package"] for ranked in report.results["ranking"]] == ["maths", "shapes"]


def test_a_file_that_cannot_be_parsed_costs_its_package_and_what_is_joined(write):
    process = build(write({**LIBRARY, "broken.py": "def :\n"}))
    report = process.run(runner="sequential")
    assert isinstance(report.exceptions["parse-broken"], SyntaxError)
    assert report.entries["complexity-maths"].status is TaskStatus.SUCCESS
    assert report.entries["ranking"].status is TaskStatus.SKIPPED


def demo(folder, *arguments):
    return ended(
        [sys.executable, "-m", "processes", "demo", *arguments],
        300,
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


def test_the_demo_prints_ranking_and_speed_up_and_writes_its_report(write, tmp_path):
    write({f"library/{name}": text for name, text in LIBRARY.items()})
    done = demo(tmp_path, "--root", "library", "--workers", "2", "--json", "new/report.json")
    assert done.returncode == 0, done.stderr
    assert "  1  maths " in done.stdout
    assert "speed-up" in done.stdout
    assert "stdlib" not in done.stdout
    report = json.loads(Path(tmp_path, "new/report.json").read_text(encoding="utf-8"))
    assert report["runner"] == "process"
    assert report["entries"]["ranking"]["result"][0]["package"] == "maths"
    assert "sequentially" in done.stderr


def test_the_demo_tells_of_failures_by_its_exit_status(write, tmp_path):
    write({"library/broken.py": "def :\n"})
    done = demo(tmp_path, "--root", "library")
    assert done.returncode == 1
    assert "parse-broken" in done.stdout
    assert "processes-demo.json" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_the_demo_tells_of_a_report_that_cannot_be_written(write, tmp_path, monkeypatch, capsys):
    write({f"library/{name}": text for name, text in LIBRARY.items()})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaves:
        main(["demo", "--root", "library", "--workers", "1", "--no-compare", "--json", "/dev/full"])
    output, errors = capsys.readouterr()
    assert leaves.value.code == 1
    assert "Hardest to maintain" in output
    assert "Error: '/dev/full' could not be written: " in errors


def test_the_demo_refuses_a_folder_without_source_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaves:
        main(["demo", "--root", "."])
    assert leaves.value.code == 2
    assert "no Python source files" in capsys.readouterr().err


def test_without_a_root_the_packages_of_the_standard_library_are_ranked():
    names = {task.name for task in build().tasks}
    assert {f"complexity-{name}" for name in ("json", "asyncio", "re", "subprocess", "this")} <= names
    assert len(names) > 400


@pytest.mark.once
def test_the_demo_ranks_packages_of_the_standard_library(tmp_path, monkeypatch, capsys):
    library, some = Path(sysconfig.get_paths()["stdlib"]), tmp_path / "some"
    packages = measures.find_packages(library)
    chosen = {"subprocess", "this", *[*packages][7::16]}  # all would take twenty seconds
    for file in (file for name in chosen for file in packages[name].values()):
        (some / Path(file).relative_to(library)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, some / Path(file).relative_to(library))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(some)})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaves:
        main(["demo", "--no-compare", "--top", "1000"])
    output = capsys.readouterr().out
    assert leaves.value.code == 0, output
    assert "Hardest to maintain in the standard library of Python 3." in output
    ranked = re.findall(r"^ *\d+  (\w+) +\d+\.\d ", output, re.MULTILINE)
    assert set(ranked) == chosen
    assert ranked.index("subprocess") < ranked.index("this")
    entries = json.loads(Path(tmp_path, "processes-demo.json").read_text(encoding="utf-8"))["entries"]
    assert {entry["status"] for entry in entries.values()} == {"success"}
    assert len(entries) == 3 * len(ranked) + 3
