"""How a job's end becomes the submitter's exit code."""

from __future__ import annotations

import pytest
from ray.job_submission import JobDetails, JobStatus

from rayjob.submit import exit_code


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),  # it never began
        ("STOPPED", None, 143),
    ],
)
def test_exit_codes(status: str, driver: int | None, code: int) -> None:
    details = JobDetails(
        type="SUBMISSION", entrypoint="x", status=JobStatus(status), driver_exit_code=driver
    )
    assert exit_code(details) == code
