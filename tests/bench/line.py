#!/usr/bin/env python3
"""A line: a TCP proxy that passes so many bytes a second, shared by all connections, and each some time later.

    line.py PORT TO BYTES_PER_SECOND DELAY_IN_SECONDS

Each direction waits for the delay, so a round trip takes twice that. It loses no packets: what a lossy line costs
depends on the sender's congestion control, which no proxy in user space can stand for.
"""

import asyncio
import sys

PIECE = 16 << 10


class Line:
    def __init__(self, rate):
        self.rate = rate
        self.free = 0.0

    async def carry(self, size):
        loop = asyncio.get_running_loop()
        self.free = max(self.free, loop.time()) + size / self.rate
        await asyncio.sleep(self.free - loop.time())


async def passes(reader, writer, line, delay):
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue(1024)

    async def deliver():
        while (item := await queue.get()) is not None:
            due, piece = item
            await asyncio.sleep(due - loop.time())
            writer.write(piece)
            await writer.drain()
        writer.close()

    delivering = asyncio.create_task(deliver())
    try:
        while piece := await reader.read(PIECE):
            await line.carry(len(piece))
            await queue.put((loop.time() + delay, piece))
    except ConnectionError:
        pass
    await queue.put(None)
    await asyncio.gather(delivering, return_exceptions=True)


async def main(port, to, rate, delay):
    down, up = Line(rate), Line(rate)

    async def connected(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(passes(reader, back, up, delay / 2), passes(there, writer, down, delay / 2))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
