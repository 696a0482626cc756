import asyncio

from actors.gate import Gate


async def test_many_enter_together_and_one_alone() -> None:
    gate = Gate(8)
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


async def test_as_many_enter_as_there_are_places() -> None:
    gate, inside, most = Gate(2), 0, 0

    async def visit(*, alone: bool) -> None:
        nonlocal inside, most
        async with gate.enter(alone=alone):
            inside += 1
            most = max(most, inside)
            assert inside == 1 or not alone
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(visit(alone=number % 5 == 0) for number in range(20)))
    assert most == 2
