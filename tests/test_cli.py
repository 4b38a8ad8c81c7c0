"""The command line, run as users run it."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import cloudpickle
import pytest
from programs import started, wait_until

from processes import __version__, cli
from processes.serialization import importable

GOOD = """
    from processes import Process, Task, TaskDependency

    def double(number):
        return 2 * number

    process = Process([
        Task("one", int, args=("1",)),
        Task("two", double, dependencies=[TaskDependency("one", use_result_as_additional_args=True)]),
    ], name="numbers")
"""
BAD = """
    from functools import cache
    from processes import Process, Task, TaskDependency

    def fail():
        raise ValueError("this one fails")

    @cache
    def build(name=""):
        below = Task("below", int, dependencies=[TaskDependency("bad")])
        return Process([Task("good", int), Task("bad", fail), below], name)
"""


@pytest.fixture
def write(tmp_path):
    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")

    return write


@pytest.fixture
def processes(tmp_path):
    """The program, run in the test's folder; it gives exit status, standard output and standard error."""

    def processes(*arguments, encoding="utf-8"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "processes", *arguments],
            cwd=tmp_path,
            capture_output=True,
            encoding=encoding,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    return processes


@pytest.fixture
def main(tmp_path, monkeypatch, capsys):
    """The same in this process, which takes a tenth of the time; what it has loaded is forgotten.

    By workers that tests share it is not: what they import has a name that no other test's module has.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["processes"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = [*sys.path]

    def main(*arguments):
        importlib.invalidate_caches()
        sys.path[:] = path
        try:
            with pytest.raises(SystemExit) as leaves:
                cli.main(arguments)
        finally:
            forget()
        return leaves.value.code, *capsys.readouterr()

    def forget():
        for name, module in [*sys.modules.items()]:
            if str(tmp_path) in (getattr(module, "__file__", None) or ""):
                del sys.modules[name]
                importable._looked_for.discard(name)
                if name in importable.stays_away:
                    importable.stays_away.remove(name)
                    cloudpickle.unregister_pickle_by_value(module)

    return main


@pytest.mark.parametrize("target", ["job.py", "./job.py", "job.py:process", "job", "job:process"])
def test_a_process_is_found_by_file_or_module_with_and_without_its_name(write, main, target):
    write(job=GOOD)
    status, output, errors = main("run", target)
    assert (status, errors) == (0, "")
    assert output.startswith("Process 'numbers': 2 tasks, 2 succeeded")


@pytest.mark.parametrize("command", [(), ("run",), ("graph",)])
def test_help_says_what_to_name_and_where_options_of_its_own_stand(main, command):
    status, output, errors = main(*command, "-h")
    assert (status, errors) == (0, "")
    text = " ".join(output.split())
    assert "without NAME the module's only Process is taken, or its function `build`" in text
    assert "those that look like options come after a `--`" in text


def test_the_runner_can_be_chosen_and_the_report_written(write, main, tmp_path, runner):
    write(job=GOOD)
    status, _, errors = main(
        "run", "job.py", "--runner", runner, "--workers", "2", "--json", "new/folder/report.json"
    )
    assert (status, errors) == (0, "")
    report = json.loads((tmp_path / "new/folder/report.json").read_text(encoding="utf-8"))
    assert report["runner"] == runner
    assert report["entries"]["two"]["result"] == 2


def test_the_report_is_written_as_page_and_trace(write, main, tmp_path):
    write(job=BAD)
    status, output, errors = main(
        "run", "job.py", "--html", "new/page.html", "--trace", "new/trace.json", "--json", "report.json"
    )
    assert (status, errors) == (1, "")
    assert "ValueError: this one fails" in output
    page = (tmp_path / "new/page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "ValueError: this one fails" in page
    trace = json.loads((tmp_path / "new/trace.json").read_text(encoding="utf-8"))
    assert sorted(one["name"] for one in trace["traceEvents"] if one["ph"] == "X") == ["bad", "good"]
    assert len(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["entries"]) == 3


@pytest.mark.parametrize("target", ["resumed.py", "resumed:build"])
def test_a_run_with_a_checkpoint_goes_on_where_the_last_one_failed(write, main, shared_workers, target):
    write(resumed=BAD)
    arguments = ("run", target, "--checkpoint", "new/run.ckpt")
    for runner, taken in (("process", "1 succeeded"), ("thread", "1 succeeded (1 from the checkpoint)")):
        status, output, errors = main(*arguments, "--runner", runner)
        assert (status, errors) == (1, "")
        assert output.startswith(f"3 tasks, 1 failed, 1 skipped, {taken}, ")
    write(resumed=BAD.replace('raise ValueError("this one fails")', "return 3"))
    status, output, errors = main(*arguments)
    assert (status, errors) == (0, "")
    assert output.startswith("3 tasks, 3 succeeded (1 from the checkpoint), ")


def test_a_dry_run_says_what_would_run_and_why(write, main, tmp_path):
    write(job=BAD)
    dry, path = ("run", "job.py", "--dry-run", "--checkpoint", "run.ckpt"), tmp_path / "run.ckpt"
    status, output, errors = main(*dry)
    assert (status, errors) == (0, "")
    assert output.splitlines()[0] == "3 of 3 tasks would run."
    assert not path.exists()
    main("run", "job.py", "--checkpoint", "run.ckpt")
    assert main(*dry)[1] == (
        "2 of 3 tasks would run.\nbad    no result of it is saved\nbelow  no result of it is saved\n"
    )
    named = 'Process([Task("\u65e5\u672c", int), Task("red\\x1b[31m", int)])'
    write(odd=f"from processes import Process, Task\nprocess = {named}\n")
    assert main("run", "odd.py", *dry[2:])[1].splitlines()[1:] == [
        "\u65e5\u672c         no result of it is saved",
        "red\\x1b[31m  no result of it is saved",
    ]
    write(job=BAD.replace("int", "float"))
    saved = path.read_bytes()
    assert main(*dry)[1].splitlines()[1] == "good   its function is not what it was"
    assert path.read_bytes() == saved
    status, _, errors = main(*dry[:3])
    assert status == 2
    assert "name one by --checkpoint FILE" in errors


def test_a_checkpoint_that_is_none_or_in_use_is_wrong_usage(write, main, tmp_path):
    (tmp_path / "prices.csv").write_text("name,price\n")
    write(
        job=GOOD,
        outer=(
            "import subprocess, sys\n"
            "from processes import Process, Task\n"
            "def inner():\n"
            "    command = [sys.executable, '-m', 'processes', 'run', 'job.py', '--checkpoint', 'run.ckpt']\n"
            "    done = subprocess.run(command, capture_output=True, text=True)\n"
            "    return done.returncode, done.stderr\n"
            "process = Process([Task('inner', inner)])\n"
        ),
    )
    status, output, errors = main("run", "job.py", "--checkpoint", "prices.csv")
    assert (status, output) == (2, "")
    assert "is a file of another kind" in errors
    status, _, errors = main("run", "outer.py", "--checkpoint", "run.ckpt", "--json", "report.json")
    assert (status, errors) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    status, errors = report["entries"]["inner"]["result"]
    assert status == 2
    assert "another run has this checkpoint" in errors
    assert "Traceback" not in errors


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_checkpoint_that_cannot_be_used_is_wrong_usage(write, main, tmp_path):
    write(job=GOOD)
    os.mkfifo(tmp_path / "pipe")
    status, output, errors = main("run", "job.py", "--checkpoint", "pipe")
    assert (status, output) == (2, "")
    assert errors.endswith(f"Error: [Errno 29] Illegal seek: {str(tmp_path / 'pipe')!r}\n")
    assert "Traceback" not in errors


@pytest.mark.parametrize("when", ["loaded", "run"])
def test_the_report_is_written_where_it_was_wanted_wherever_the_file_goes(write, main, tmp_path, when):
    (tmp_path / "elsewhere").mkdir()
    write(
        loaded="import os\nos.chdir('elsewhere')\n" + textwrap.dedent(GOOD),
        run=(
            "import os\nfrom processes import Process, Task\n"
            "p = Process([Task('go', os.chdir, args=('elsewhere',))])"
        ),
    )
    assert main("run", f"{when}.py", "--json", "report.json")[0] == 0
    assert (tmp_path / "report.json").is_file()


@pytest.mark.parametrize(("workers", "runner"), [("1", "sequential"), ("2", "thread")])
def test_a_small_process_has_the_workers_that_are_asked_for(write, main, tmp_path, workers, runner):
    write(job=GOOD)
    assert main("run", "job.py", "--workers", workers, "--json", "report.json")[0] == 0
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["runner"] == runner


def test_a_process_that_names_its_runner_keeps_it(write, main, tmp_path):
    write(
        job="from processes import Process, Task\n"
        "p = Process([Task('a', abs, args=(-1,))], runner='sequential')"
    )
    assert main("run", "job.py", "--workers", "2", "--json", "report.json")[0] == 0
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["runner"] == "sequential"


def test_resources_that_tasks_need_are_given_by_name_and_amount(write, main):
    write(
        job="from processes import Process, Task\n"
        "needs = {'database': 1, 'disk': 0.5}\n"
        "p = Process([Task('a', int, resources=needs), Task('b', int, resources=needs)])"
    )
    status, _, errors = main("run", "job.py", "--resource", "disk=1")
    assert status == 2
    assert "or --resource database=… on the command line" in " ".join(errors.split())
    status, output, errors = main("run", "job.py", "--resource", "disk=1", "--resource", "database=2")
    assert (status, errors) == (0, "")
    assert output.startswith("2 tasks, 2 succeeded, ")


def test_a_run_ends_at_the_first_failure_where_that_was_asked_for(write, main):
    write(
        job="from processes import Process, Task\n"
        "p = Process([Task('bad', int, args=('x',), priority=1), Task('good', int)], runner='sequential')"
    )
    status, output, _ = main("run", "job.py", "--fail-fast")
    assert status == 1
    assert output.startswith("2 tasks, 1 failed, 1 pending, ")


def test_what_tasks_print_goes_to_their_log_files_where_that_was_asked_for(write, main, tmp_path):
    write(
        job="from processes import Process, Task\n"
        "p = Process([Task('say', print, 'say.log', args=('hello',))], runner='sequential')"
    )
    status, output, _ = main("run", "job.py", "--capture-output")
    assert status == 0
    assert "hello" not in output
    assert " hello\n" in (tmp_path / "say.log").read_text(encoding="utf-8")


def test_failures_give_status_1_and_can_be_shown_alone(write, main):
    write(job=BAD)
    status, output, _ = main("run", "job.py")
    assert status == 1
    assert {"good", "bad", "below"} <= {line.split(" ")[0] for line in output.splitlines()}
    assert "ValueError: this one fails" in output
    status, output, _ = main("run", "job.py:build", "--only-errors")
    assert status == 1
    assert output.startswith("3 tasks, 1 failed, 1 skipped, 1 succeeded, ")
    assert "good" not in output
    assert "below" in output


def test_only_errors_of_a_run_without_errors_says_so(write, main):
    write(job=GOOD)
    assert main("run", "job.py", "--only-errors") == (0, "All tasks succeeded.\n", "")


def test_progress_is_shown_when_asked_for(write, main):
    write(job=GOOD)
    assert "numbers: 2/2 done" in main("run", "job.py", "--progress")[2]
    assert main("run", "job.py", "--no-progress")[2] == ""


@pytest.mark.parametrize("command", [("run", "job.py", "--json", "report.json"), ("graph", "job.py")])
def test_names_that_the_output_cannot_show_are_escaped(write, processes, tmp_path, monkeypatch, command):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    write(job=GOOD.replace('"two"', '"zwölf-日本"'))
    status, output, errors = processes(*command, encoding="latin-1")
    assert (status, errors) == (0, "")
    assert "zwölf-\\u65e5\\u672c" in output
    if command[0] == "run":
        assert len(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["entries"]) == 2


def test_a_report_that_cannot_be_printed_is_written_all_the_same(write, tmp_path):
    write(job=GOOD)
    reader, writer = os.pipe()
    os.close(reader)  # so that nothing can be printed
    files = ["--json", "report.json", "--html", "page.html"]
    with open(writer, "wb") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "processes", "run", "job.py", *files],
            cwd=tmp_path, stdout=broken, stderr=subprocess.PIPE, timeout=120,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["entries"]["two"]["result"] == 2
    assert (tmp_path / "page.html").read_text(encoding="utf-8").endswith("</html>")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["-h", "run job.py", "graph job.py", "run taking.py -- -h"])
def test_a_program_that_can_print_nothing_says_so_in_one_line(write, main, monkeypatch, command):
    taking = (
        "import argparse\nargparse.ArgumentParser().parse_args()\n"  # prints, and leaves that in a buffer
    )
    write(job=GOOD, taking=taking)
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        status, _, errors = main(*command.split())
    assert status == 1
    assert re.fullmatch("Error: standard output could not be written: .*No space.*\n", errors)


def test_wrong_usage_is_told_where_a_file_has_closed_standard_output(write, main, monkeypatch):
    write(job="import sys\nsys.stdout.close()\n")
    with open(os.devnull, "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        status, _, errors = main("run", "job.py")
    assert status == 2
    assert "'job.py' has neither a Process nor a function `build`" in errors


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("option", ["--html", "--json", "--trace"])
def test_a_report_that_cannot_be_written_is_printed_all_the_same(write, main, tmp_path, option):
    write(job=GOOD)
    options = {"--html": "page", "--json": "report", "--trace": "trace", option: "/dev/full"}
    status, output, errors = main("run", "job.py", *[part for pair in options.items() for part in pair])
    assert status == 1
    assert errors.startswith("Error: '/dev/full' could not be written: ")
    assert errors.count("\n") == 1
    assert output.startswith("Process 'numbers': 2 tasks, 2 succeeded")
    written = {path.name for path in tmp_path.iterdir() if path.suffix == "" and path.is_file()}
    assert written == set(options.values()) - {"/dev/full"}


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the stream")
@pytest.mark.parametrize(
    ("runner", "option"),
    [("sequential", "--progress"), ("thread", None), ("process", "--progress"), ("process", "--no-progress")],
)
def test_a_program_without_standard_error_runs_too(write, tmp_path, runner, option):
    write(job=GOOD)
    command = [sys.executable, "-m", "processes", "run", "job.py", "--runner", runner]
    if option is not None:
        command.append(option)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("Process 'numbers': 2 tasks, 2 succeeded")


@pytest.mark.parametrize("name", ["job.py", "sched.py"])
def test_what_a_file_does_when_loaded_is_done_once_and_its_classes_stay_its_own(
    write, processes, tmp_path, name
):
    write(
        job="""
            import os
            import pickle
            from processes import Process, Task

            print("loaded", os.getpid())

            class Answer:
                def __init__(self, pid):
                    self.pid = pid

            def answer():
                return pickle.loads(pickle.dumps(Answer(os.getpid())))

            def check():
                process = Process([Task("answer", answer)])
                found = process.run(runner="process").results["answer"]
                return isinstance(found, Answer) and found.pid != os.getpid()

            def build():
                assert check()
                tasks = [Task("answer", answer), Task("nested", check)]
                return Process(tasks, runner="process")
        """
    )
    os.rename(tmp_path / "job.py", tmp_path / name)
    status, output, errors = processes("run", name)
    assert (status, errors) == (0, "")
    assert output.count("loaded") == 1


@pytest.mark.parametrize(
    ("command", "target", "given", "taken"),
    [
        ("run", "plain.job", [], []),
        ("run", "daily/job.py", ["today"], ["today"]),
        ("run", "odd.job", ["--", "--runner", "thread", "x y"], ["--runner", "thread", "x y"]),
        ("graph", "drawn/job.py", ["--", "--format", "dot"], ["--format", "dot"]),
    ],
)
def test_what_is_loaded_has_its_own_name_and_arguments(
    main, shared_workers, tmp_path, command, target, given, taken
):
    folder = tmp_path / re.split("[./]", target)[0]
    folder.mkdir()
    (folder / "job.py").write_text(
        "import sys\n"
        "from processes import Process, Task\n"
        f"assert sys.argv == {[target, *taken]}, sys.argv\n"
        f"def check(): assert sys.argv == {[target, *taken]}, sys.argv\n"
        "p = Process([Task('check', check)], runner='process')\n"
    )
    status, _, errors = main(command, target, *given)
    assert (status, errors) == (0, "")


def test_modules_beside_a_file_can_be_imported_here_and_in_workers(main, tmp_path, shared_workers):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "beside_a_job.py").write_text("def help(): return 'helped'\n")
    (tmp_path / "folder" / "job.py").write_text(
        "import beside_a_job\n"
        "from processes import Process, Task\n"
        "p = Process([Task('direct', beside_a_job.help), Task('indirect', lambda: beside_a_job.help())])\n"
    )
    status, _, errors = main("run", "folder/job.py", "--runner", "process", "--json", "report.json")
    assert (status, errors) == (0, "")
    entries = json.loads((tmp_path / "report.json").read_text())["entries"]
    assert {entry["result"] for entry in entries.values()} == {"helped"}


def test_a_module_beside_a_file_does_not_take_the_place_of_one_that_the_report_needs(processes, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "job.py").write_text(textwrap.dedent(GOOD))
    for name in ("html", "json", "colorsys", "jinja2", "markupsafe", "unicodedata", "hashlib"):
        (tmp_path / "folder" / f"{name}.py").write_text("raise RuntimeError('not this one')")
    status, output, errors = processes(
        "run", "folder/job.py", "--json", "report.json", "--html", "page.html", "--trace", "trace.json"
    )
    assert (status, errors) == (0, "")
    assert "2 succeeded" in output


@pytest.mark.parametrize("name", ["json", "my-job", "new.job", "processes"])
def test_a_file_may_bear_any_name(main, tmp_path, shared_workers, name):
    (tmp_path / "folder").mkdir()  # with `python -m` the current folder comes first, before the library
    (tmp_path / "folder" / f"{name}.py").write_text(textwrap.dedent(GOOD))
    status, _, errors = main("run", f"folder/{name}.py", "--runner", "process")
    assert (status, errors) == (0, "")


def test_a_module_in_a_package_is_imported_by_its_dotted_name(main, tmp_path, shared_workers):
    (tmp_path / "package_of_jobs").mkdir()
    (tmp_path / "package_of_jobs" / "__init__.py").touch()
    (tmp_path / "package_of_jobs" / "job.py").write_text(textwrap.dedent(GOOD))
    status, output, errors = main("run", "package_of_jobs.job:process", "--runner", "process")
    assert (status, errors) == (0, "")
    assert "2 succeeded" in output


def test_a_file_that_is_a_module_of_a_package_is_told_by_its_dotted_name(main, tmp_path):
    inner = tmp_path / "package" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    (inner / "job.py").write_text("from . import other")
    status, _, errors = main("run", str(inner / "job.py"))
    assert status == 2
    told = (
        f"could not be loaded; it is in a package: write package.inner.job, in the folder {str(tmp_path)!r}\n"
    )
    assert errors.endswith(told)


WRONG_USAGES = [
    (["run"], "Missing argument"),
    (["run", "missing.py"], "there is no file 'missing.py'"),
    (["run", "folder/missing"], "there is no file 'folder/missing'"),
    (["run", "c:/missing.py"], "there is no file 'c:/missing.py'"),
    (["run", "missing"], "there is no module 'missing'"),
    (["run", "job.missing"], "there is no module 'job.missing'"),
    (["run", "exits.pyy"], "there is no module 'exits.pyy'; did you mean 'exits.py'?"),
    (["run", "exist.py"], "there is no file 'exist.py'; did you mean 'exits.py'?"),
    (["run", ""], "'' names no file or module"),
    (["run", ":p"], "':p' names no file or module"),
    (["run", "job.py:missing"], "'job.py' has no 'missing'; append :NAME with one of process"),
    (["run", "job.py:double"], "neither a Process nor a function without parameters"),
    (["run", "job.py", "--runner", "proces"], "'proces' is not one of 'sequential', 'thread', 'process'"),
    (["run", "job.py", "--runner", "dask"], "DaskRunner needs dask.distributed, which is not installed: pip"),
    (["run", "job.py", "--workers", "0"], "0 is not in the range x>=1"),
    (["run", "job.py", "--resource", "database"], "'database' is no name and number, as in database=2"),
    (["run", "job.py", "--resource", "database=two"], "'database=two' is no name and number"),
    (["run", "job.py", "--resource", "database=0"], "resources['database'] must be a positive number, not 0"),
    (["run", "job.py", "--json", "job.py/report.json"], "cannot be made"),
    (["run", "job.py", "--json", "-"], "'-' is no file"),
    (["run", "job.py", "--json", ""], "is a directory"),
    (["run", "job.py", "--html", "job.py/page.html"], "cannot be made"),
    (["run", "job.py", "--html=~/page.html"], "'~' does not stand for your home here: write that out"),
    (["run", "job.py", "--checkpoint=~/run.ckpt"], "'~' does not stand for your home here: write that out"),
    (["run", "job.py", "--html", "-"], "'-' is no file"),
    (["run", "job.py", "--trace", "folder"], "'folder' is a directory"),
    (["run", "several.py"], "has more than one Process; append :NAME with one of first, second"),
    (["run", "both.py"], "has more than one Process; append :NAME with one of first, second, build"),
    (
        ["run", "none.py"],
        "neither a Process nor a function `build` that makes one; append :NAME with one of other",
    ),
    (["run", "none.py:other"], "'other' of 'none.py' returned 3, which is no Process"),
    (["run", "many.py"], "append :NAME with one of f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, …"),
    (
        ["run", "job.py", "--day", "3"],
        "No such option '--day'. Options of FILE_OR_MODULE itself come after",
    ),
    (["run", "job.py", "--failfast"], "--fail-fast"),
    (
        ["run", "job.py", "--checkpoint", "run.ckpt", "--json", "./run.ckpt"],
        "The report would be written over the checkpoint",
    ),
    (["demo", "--day"], "No such option"),
    (
        ["run", "guarded.py"],
        'nor a function `build` that makes one (what stands below `if __name__ == "__main__":` is not',
    ),
    (["run", "guarded:inner"], "'guarded' has no 'inner' (what stands below `if __name__ =="),
    (["run", "ran.py"], "'ran.py' has run its process itself when it was loaded; let it do so below"),
    (["run", "warm.py", "--workers", "2"], "max_workers=2 has no effect on a runner instance"),
    (["graph", "job.py", "--format", "png"], "'png' is not one of 'mermaid', 'dot'"),
]


def test_wrong_usage_is_said_before_anything_runs(write, main, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    # It cannot tell what it is before it is configured, as the settings of Django.
    unready = "class Settings:\n    __class__ = property(lambda _: 1 / 0)\nsettings = Settings()\n"
    write(
        job=GOOD,
        several="from processes import Process\nfirst, second = Process([]), Process([])",
        guarded="from processes import Process\nif __name__ == '__main__':\n    inner = Process([])",
        both=(
            "from processes import Process\nfirst, second = Process([]), Process([])\n"
            f"def build(): return first\n{unready}"
        ),
        none=(
            "from platform import machine\ndef other(): return 3\ndef with_parameters(a): pass\n" + unready
        ),
        many="\n".join(f"def f{number}(): pass" for number in range(200)),
        warm="from processes import Process, ThreadRunner\np = Process([], runner=ThreadRunner(3))",
        ran="from processes import Process\np = Process([])\np.run()",
        exits="raise SystemExit",
    )
    (tmp_path / "folder").mkdir()
    for arguments, message in WRONG_USAGES:
        status, output, errors = main(*arguments)
        assert (status, output) == (2, ""), arguments
        assert message in " ".join(errors.split()), arguments


@pytest.mark.parametrize("target", ["job.py", "job", "job.py:build"])
@pytest.mark.parametrize(
    ("text", "last_line"),
    [
        ("def build(:\n", "SyntaxError: "),
        ("import missing_dependency\n", "ModuleNotFoundError: No module named 'missing_dependency'"),
        ("import sys\nsys.exit('not today')\n", "SystemExit: not today"),
        ("def build():\n    return 1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_gives_status_2_and_a_traceback_of_its_own_lines(
    write, main, target, text, last_line
):
    write(job=text)
    status, _, errors = main("run", target)
    assert status == 2
    assert f"\n{last_line}" in errors
    files = re.findall(r'File "(.*)", line', errors)
    assert [os.path.basename(file) for file in files] == ["job.py"]


@pytest.mark.parametrize("target", ["job.py", "job:build"])
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--", "--help"], 0, "usage: job"),
        (["--", "--dya", "monday"], 2, "unrecognized arguments: --dya"),
        (["--", "--day"], 2, "expected one argument"),
    ],
)
def test_the_argument_parser_of_a_program_has_the_last_word(write, main, target, arguments, status, told):
    parse = "parser = argparse.ArgumentParser()\nparser.add_argument('--day')\nparser.parse_args()\n"
    within = f"import argparse\ndef build():\n{textwrap.indent(parse, '    ')}"
    write(job=f"import argparse\n{parse}" if target == "job.py" else within)
    left, output, errors = main("run", target, *arguments)
    assert left == status
    assert told in output + errors
    assert "Traceback" not in errors
    assert "Error:" not in errors


@pytest.mark.parametrize(("drawing", "arrow"), [("mermaid", "t0 --> t1"), ("dot", "t0 -> t1")])
def test_the_graph_is_drawn_as_text(write, main, drawing, arrow):
    write(job=GOOD)
    status, output, _ = main("graph", "job.py", "--format", drawing)
    assert status == 0
    assert arrow in output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_prints_what_was_finished_and_gives_status_130(write, tmp_path):
    write(
        job="""
            import time
            from pathlib import Path
            from processes import Process, Task, TaskDependency

            def wait():
                Path("began").touch()
                while True:  # a Ctrl-C just before a sleep begins does not end that one
                    time.sleep(0.1)

            p = Process([
                Task("done", int),
                Task("waits", wait, dependencies=[TaskDependency("done")]),
            ])
        """
    )
    command = [sys.executable, "-m", "processes", "run", "job.py", "--runner", "sequential"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as program:
        wait_until((tmp_path / "began").exists)
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=120)
    assert program.returncode == 130
    assert "1 pending, 1 succeeded" in output


def test_ctrl_c_when_all_tasks_have_succeeded_gives_status_130_too(write, main):
    write(
        job="""
            import signal
            from processes import Process, Task

            class Named:
                asked = 0

                def __call__(self):
                    return 1

                @property
                def __name__(self):  # asked for when the report is made
                    self.asked += 1
                    if self.asked == 1:
                        signal.raise_signal(signal.SIGINT)
                    return "named"

            p = Process([Task("quick", Named())])
        """
    )
    status, output, errors = main("run", "job.py")
    assert (status, errors) == (130, "")
    assert "1 task, 1 succeeded" in output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize(("command", "target"), [("run", "loads"), ("graph", "builds")])
def test_ctrl_c_before_anything_runs_gives_status_130(write, tmp_path, command, target):
    wait = "Path('began').touch()\nwhile True: time.sleep(0.1)"
    imports = "import time\nfrom pathlib import Path\n"
    write(loads=f"{imports}{wait}", builds=f"{imports}def build():\n{textwrap.indent(wait, '    ')}")
    with started(
        [sys.executable, "-m", "processes", command, f"{target}.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        wait_until((tmp_path / "began").exists)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=120)
    assert (program.returncode, errors) == (130, "Interrupted.\n")


def test_the_installed_program_is_the_same_as_python_m(processes):
    (script,) = entry_points(group="console_scripts", name="processes")
    assert script.value == "processes.cli:main"
    status, output, _ = processes("--version")
    assert (status, output.split()[-1]) == (0, script.dist.version)
    assert script.dist.version == __version__
