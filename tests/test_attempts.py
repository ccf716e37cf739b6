"""What is known of a job over which the process died."""

import json

import pytest

from support.stand_in import SPACE, evaluate
from tfsparse.attempts import MOST, Attempts
from tfsparse.errors import UserError
from tfsparse.job import Job
from tfsparse.proposals import Proposal
from tfsparse.run_folder import COMPLETED, FAILED
from tfsparse.workers import Inline

JOB = Job(7, 123, Proposal(SPACE.smallest, "explore", 1.0))


def _outcome(attempts, judge=evaluate):
    worker = Inline(judge, attempts)
    worker.submit(JOB)
    return worker.next(lambda *told: None).record


def test_what_python_sees_is_an_end(tmp_path):
    attempts = Attempts(tmp_path)
    for error in (KeyboardInterrupt, UserError, ValueError):
        with pytest.raises(error), attempts.at("trial 3"):
            assert attempts.died("trial 3") == 1
            raise error
        assert not list(tmp_path.iterdir())
    with attempts.at("trial 3"):
        pass
    assert attempts.died("trial 3") == 0


def test_a_job_is_begun_so_often_and_no_more(tmp_path):
    during = []

    def judge(candidate, **keywords):
        during.append(json.loads((tmp_path / "attempts.json").read_text()))
        return evaluate(candidate, **keywords)

    assert _outcome(Attempts(tmp_path), judge).status == COMPLETED
    job = during[0]["job"]
    for begun in range(MOST + 1):
        # As a process leaves it that dies in the job, or (0) in another one.
        (tmp_path / "attempts.json").write_text(json.dumps({"job": job if begun else "another", "begun": begun or 9}))
        record = _outcome(Attempts(tmp_path), judge)
        assert record.status == (COMPLETED if begun < MOST else FAILED)
    assert [one["begun"] for one in during] == [1, 1, 2]
    assert record.reason.startswith(f"the process died {MOST} times")


def test_a_torn_file_counts_for_nothing_and_a_full_disk_is_said(tmp_path):
    for content in ("", '{"job": "trial 3"', "[]", '{"job": "trial 3"}'):
        (tmp_path / "attempts.json").write_text(content)
        assert Attempts(tmp_path).died("trial 3") == 0
    with pytest.raises(UserError, match="cannot be written"), Attempts(tmp_path / "gone").at("trial 3"):
        pass
