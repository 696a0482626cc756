import asyncio

from actors.gate import Gate


async def test_many_enter_together_and_one_alone() -> None:
    gate = Gate(8, most_bytes=100)
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
    gate, inside, most = Gate(2, most_bytes=100), 0, 0

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


async def test_bytes_bound_what_is_in() -> None:
    gate, inside = Gate(8, most_bytes=100), list[int]()

    async def visit(size: int) -> None:
        async with gate.enter(alone=False, size=size):
            inside.append(size)
            assert sum(inside) <= 100 or len(inside) == 1
            await asyncio.sleep(0.001)
            inside.remove(size)

    await asyncio.gather(*(visit(size) for size in (60, 40, 60, 500, 1, 99, 100, 0, 30) * 3))
    assert (gate.inside, gate.outside) == (0, 0)


async def test_places_come_and_go() -> None:
    gate, leave = Gate(1, most_bytes=100), asyncio.Event()

    async def visit() -> None:
        async with gate.enter(alone=False):
            await leave.wait()

    tasks = [asyncio.create_task(visit()) for _ in range(6)]
    await asyncio.sleep(0.01)
    assert (gate.inside, gate.outside) == (1, 5)
    gate.places = 4
    await asyncio.sleep(0.01)
    assert (gate.inside, gate.outside) == (4, 2)
    gate.places = 2
    await asyncio.sleep(0.01)
    assert gate.inside == 4, "nobody is sent out"
    leave.set()
    await asyncio.gather(*tasks)


async def test_one_that_gives_up_leaves_the_turn_to_the_next() -> None:
    gate, leave = Gate(1, most_bytes=100), asyncio.Event()

    async def visit(*, alone: bool) -> None:
        async with gate.enter(alone=alone):
            await leave.wait()

    first = asyncio.create_task(visit(alone=False))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(visit(alone=each)) for each in (True, False, False)]
    await asyncio.sleep(0.01)
    for task in waiting[:2]:
        task.cancel()
    leave.set()
    await asyncio.wait_for(asyncio.gather(first, waiting[2]), 1.0)
    assert (gate.inside, gate.outside) == (0, 0)
