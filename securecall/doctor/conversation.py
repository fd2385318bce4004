"""A few questions to a SIP server over one connection, and everything it answered."""

from __future__ import annotations

import asyncio
from typing import Final

from securecall.clock import loop_now
from securecall.doctor.exchange import Exchange
from securecall.errors import ProtocolError
from securecall.sip.agent import Agent
from securecall.sip.connections import Connection, reader_of
from securecall.sip.message import Request, Response, build_message
from securecall.sip.output import Output, Replied, Send

FLOW: Final = 1
_MOST_CHALLENGES: Final = 4


class Conversation:
    """Asks one question at a time; what the server asks in turn is declined."""

    def __init__(self, connection: Connection, agent: Agent, *, seconds: float) -> None:
        """Take over a connection.

        Args:
            connection: To the server; it proved its name.
            agent: Writes the requests, and answers challenges if it has a login.
            seconds: For each question, whatever the server does.
        """
        self._connection = connection
        self._agent = agent
        self._seconds = seconds
        self._stream = reader_of(connection)

    async def ask(self, outputs: tuple[Output, ...]) -> Exchange:
        """Send what the agent wrote, and wait for the final answer to it; never raises."""
        exchange = Exchange()
        self._perform(outputs)
        try:
            async with asyncio.timeout(self._seconds):
                while not exchange.failure and exchange.response is None:
                    await self._hear(exchange)
        except TimeoutError:
            exchange.failure = f"did not answer within {self._seconds:.0f} seconds"
        except ProtocolError:
            exchange.failure, exchange.broken = "said something that is no SIP", True
        return exchange

    async def _hear(self, exchange: Exchange) -> None:
        data = await self._connection.receive()
        if not data:
            exchange.failure = "closed the connection"
            return
        for message in self._stream.feed(data):
            if isinstance(message, Request):
                message.require_valid()  # what begins an HTTP answer has the shape of a request
                self._decline(message)
            else:
                self._take(message, exchange)
        if self._stream.failure is not None:
            raise self._stream.failure

    def _take(self, response: Response, exchange: Exchange) -> None:
        challenged = response.status in (401, 407)
        if challenged and len(exchange.challenges) < _MOST_CHALLENGES:
            exchange.challenges.append(response)
        now = loop_now()
        outputs = self._agent.receive(response, flow=FLOW, direct=False, now=now)
        self._perform(outputs)
        for output in outputs:
            if isinstance(output, Replied):
                exchange.response, exchange.refused = output.response, output.refused

    def _decline(self, request: Request) -> None:
        """A call that comes in while we are registered rings on at the person's own devices."""
        if request.method != "ACK":
            self._connection.send(build_message(self._agent.reply(request, 480)))

    def _perform(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self._connection.send(build_message(output.message))
