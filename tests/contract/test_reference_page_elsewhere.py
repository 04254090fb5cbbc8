"""The suite of the reference page can be pointed at any Ditio, and says what it needs of one that has no admin pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.support.reference import ROOT, opened, sandbox_process


def run(env: dict[str, str], *options: str) -> tuple[int, str]:
    """Exit status and output of the suite in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_reference_page.py", *options]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_the_suite_runs_against_the_address_that_it_is_given_and_leaves_nothing_behind() -> None:
    with sandbox_process({}) as settings, opened(settings, settings["DITIO_IDENTITY_BASE"]) as ditio:
        # Given a project with a template, one of its work orders, and no admin pages
        ditio.behind_the_scenes("PUT", f"templates/{ditio.project['id']}", {"price": 950.0, "textRequired": True})
        template = ditio.create()["id"]
        env = {name: value for name, value in settings.items() if name != "DITIO_API_BASE"}
        address, project = settings["DITIO_API_BASE"], str(ditio.project["projectNumber"])
        # When nothing is said of what is there, it says what it needs
        status, out = run(env, "--api-base", address)
        assert status == 0, out
        needed = {reason.split(":")[0] for reason in re.findall(r"SKIPPED .*?: (needs .*)", out)}
        assert {re.sub(r"values of \w+", "values", each) for each in needed} == {
            "needs values that this Ditio has",
            "needs a project that has a template work order",
            "needs the sandbox's scripted faults",
        }
        # When it is told
        fields = [f"--field-value={name}=a,b" for name in ("unitId", "chapterId", "mainForemanId", "taskLeaderId")]
        status, out = run(env, "--api-base", address, "--project-number", project, "--template-task", template, *fields)
        # Then
        assert status == 0, out
        assert set(re.findall(r"SKIPPED .*?: (needs .*?):", out)) == {"needs the sandbox's scripted faults"}
        assert [task["id"] for task in ditio.found(f"tasks/project/{ditio.project['id']}")] == [template]
        assert [each["id"] for each in ditio.found("projects")] == [ditio.project["id"]]


def test_what_is_missing_in_the_environment_is_named() -> None:
    status, out = run({"DITIO_CLIENT_ID": "x"}, "--api-base", "http://127.0.0.1:9/core", "-k", "inactive")
    assert status == 1
    assert "--api-base needs DITIO_IDENTITY_BASE, DITIO_CLIENT_SECRET, DITIO_COMPANY_ID in the environment" in out
