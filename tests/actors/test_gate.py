import asyncio

from actors.gate import Gate


async def test_many_enter_together_and_one_alone() -> None:
    gate = Gate()
    log: list[str] = []

    async def visit(name: str, *, alone: bool, release: asyncio.Event) -> None:
        async with gate.enter(alone=alone):
            log.append(f"+{name}")
            await release.wait()
            log.append(f"-{name}")

    first, alone, late = asyncio.Event(), asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(visit("a", alone=False, release=first)),
        asyncio.create_task(visit("b", alone=False, release=first)),
    ]
    await asyncio.sleep(0.01)
    tasks.append(asyncio.create_task(visit("suspect", alone=True, release=alone)))
    await asyncio.sleep(0.01)
    tasks.append(asyncio.create_task(visit("newcomer", alone=False, release=late)))
    await asyncio.sleep(0.01)
    assert log == ["+a", "+b"]
    first.set()
    await asyncio.sleep(0.01)
    assert log[2:] == ["-a", "-b", "+suspect"]
    alone.set()
    await asyncio.sleep(0.01)
    assert log[5:] == ["-suspect", "+newcomer"]
    late.set()
    await asyncio.gather(*tasks)
