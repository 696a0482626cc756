"""``python -m rayjob.submit``: run a command on a Ray cluster as ``ray job submit`` does, and
end as that command ended.

``ray job submit`` itself ends with 0 when the job was stopped, and with 1 whatever the
driver's exit code was; a scheduler could tell neither from a success or from a bad
configuration.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Sequence
from typing import Annotated, Any

import aiohttp
import httpx
import typer
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from rich.console import Console
from rich.text import Text

from rayjob.capacity.cluster import reach
from rayjob.capacity.token import check_answer, token_headers
from rayjob.settings.flags import EXIT_OTHER, errors_told
from rayjob.settings.loading import read_mapping
from schemas.errors import ConfigError

EXIT_STOPPED = 143
"""As of a process that SIGTERM ended, which is how Ray stops a driver."""

EXIT_INTERRUPTED = 130

_NOT_YET = "No available agent"
"""What Ray answers while a cluster that has just started cannot run a job yet."""

_SERVER = "RAY_API_SERVER_ADDRESS"
"""The variable in which Ray looks for its job server first."""

_START_SECONDS = 60.0
_RECONNECT_SECONDS = 2.0
_GIVE_UP_SECONDS = 120.0
"""How long the cluster may be out of reach before the job counts as lost."""


def command(
    entrypoint: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="What runs on the cluster.")
    ],
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The cluster's job server. [RAY_ADDRESS, else local]"),
    ] = None,
    working_dir: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="Folder that travels to the cluster, without what .gitignore and .rayignore "
            "name. '' for none: the image has the code.",
        ),
    ] = ".",
    runtime_env: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="YAML with further settings of Ray's runtime_env."),
    ] = None,
    submission_id: Annotated[str | None, typer.Option(help="Id of the job. [made up]")] = None,
) -> None:
    """Submit a command to a Ray cluster, show its output, and end with its exit code.

    The exit code is the command's own; 143 where the job was stopped, 2 where it could not
    be submitted, 1 where the cluster lost it. Ctrl-C leaves the job running and ends
    with 130.
    """
    console = Console(stderr=True)
    with errors_told(console):
        environment: dict[str, Any] = {"working_dir": working_dir} if working_dir else {}
        if runtime_env is not None:
            environment |= read_mapping(runtime_env, "the runtime environment")
        client = _client(address)
        job_id = _submit(client, entrypoint, environment, submission_id)
    console.print(Text(f"job {job_id} on {client.get_address()}"))
    try:
        details = follow(client, job_id)
    except ConnectionError as error:
        console.print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)
        raise typer.Exit(EXIT_OTHER) from error
    except KeyboardInterrupt:
        console.print(Text(f"the job goes on; to end it: ray job stop {job_id}"))
        raise typer.Exit(EXIT_INTERRUPTED) from None
    code = exit_code(details)
    if code:
        status = JobStatus(details.status).value.lower()
        console.print(Text(f"job {job_id} {status}, exit code {code}"))
    raise typer.Exit(code)


def follow(client: JobSubmissionClient, job_id: str) -> JobDetails:
    """Print a job's output until it ends; returns how it ended.

    Raises:
        ConnectionError: the cluster cannot be reached any more.
    """
    shown = 0

    async def show() -> None:
        """Print what comes, each letter once, until the stream ends."""
        nonlocal shown
        position = 0
        async for text in client.tail_job_logs(job_id):
            # After a broken connection the stream begins with the first letter again.
            fresh = text[max(0, shown - position) :]
            position += len(text)
            if fresh:
                shown = position
                print(fresh, end="", flush=True)

    reached = time.monotonic()
    while True:
        try:
            asyncio.run(show())
            details = client.get_job_info(job_id)
            if JobStatus(details.status).is_terminal():
                return details
            reached = time.monotonic()
        except (RuntimeError, OSError, aiohttp.ClientError, AuthenticationError) as error:
            if time.monotonic() - reached > _GIVE_UP_SECONDS:
                raise ConnectionError(f"the cluster is out of reach: {error}") from error
        time.sleep(_RECONNECT_SECONDS)


def exit_code(details: JobDetails) -> int:
    """What the submitter ends with: 0 only where the driver ended with 0."""
    if details.driver_exit_code is not None:
        code: int = details.driver_exit_code
        # A driver that a signal ended, as a shell tells it.
        return 128 - code if code < 0 else code
    if details.status == JobStatus.STOPPED:
        return EXIT_STOPPED
    return 0 if details.status == JobStatus.SUCCEEDED else EXIT_OTHER


def _client(address: str | None) -> JobSubmissionClient:
    where = address or os.environ.get(_SERVER) or os.environ.get("RAY_ADDRESS") or "auto"
    headers = token_headers()
    try:
        if "://" not in where:
            where = reach(where)
        # Ray's variables would win over the address that it is given.
        os.environ[_SERVER] = where
        client = JobSubmissionClient(where)
        mode = httpx.get(f"{client.get_address()}/api/authentication_mode")
    except AuthenticationError:
        check_answer(where, headers, admitted=False, without=False)
        raise
    except (ConnectionError, ValueError, RuntimeError, RayError, httpx.HTTPError) as error:
        raise ConfigError(
            f"no job server at {where}: {str(error).rstrip('.')}. Pass --address "
            "http://HEAD:8265, the address of the cluster's dashboard"
        ) from error
    check_answer(where, headers, admitted=True, without='"token"' not in mode.text)
    return client


def _submit(
    client: JobSubmissionClient,
    entrypoint: Sequence[str],
    environment: dict[str, Any],
    submission_id: str | None,
) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            job_id: str = client.submit_job(
                entrypoint=shlex.join(entrypoint),
                runtime_env=environment,
                submission_id=submission_id,
            )
            return job_id
        except (RuntimeError, ValueError, OSError) as error:
            if _NOT_YET not in str(error) or time.monotonic() > deadline:
                raise ConfigError(f"the cluster does not take the job: {error}") from error
        time.sleep(_RECONNECT_SECONDS)


if __name__ == "__main__":
    typer.run(command)
