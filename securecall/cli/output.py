"""What the command says: JSON lines for programs, sentences and a live line for people."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TextIO

from securecall.address import parse_address
from securecall.cli.attack_screen import AttackScreen
from securecall.cli.call_screen import LEVEL_STYLES, show_levels, show_listened, show_sound_devices
from securecall.cli.chat_lines import harmless
from securecall.cli.entry import entering
from securecall.cli.keys_screen import (
    show_code,
    show_contact_keys,
    show_device_request,
    show_keys,
)
from securecall.cli.lab_screen import show_lab, show_served
from securecall.cli.lines import Lines
from securecall.cli.people_screen import (
    show_devices,
    show_message,
    show_person,
    show_request,
    show_sent,
)
from securecall.cli.report_screen import fitted_page, show_verified
from securecall.cli.terminal import Terminal, safe
from securecall.policy import SecurityLevel, SecurityState

Fields = Mapping[str, object]

_LONG = 100  # characters of an address
_ANSWERS = {"y": True, "yes": True, "n": False, "no": False}


class Output(Protocol):
    """Where events go and answers come from."""

    def tell(self, kind: str, /, **fields: object) -> None:
        """Say that something happened; the kinds and their fields are listed in docs/cli.md."""
        ...

    @property
    def hears(self) -> bool:
        """Whether somebody may enter something."""
        ...

    async def ask(
        self,
        question: str,
        yes: str,
        no: str,
        *,
        orders: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> bool | None:
        """Ask a yes-or-no question; None if there is no answer.

        Args:
            question: For people.
            yes: The word a program writes for yes.
            no: The word a program writes for no.
            orders: Takes lines that begin with a slash meanwhile; the question stays.
            text: Takes all others, which are for the other side: then people answer with a slash,
                or the first "yes" to what they are asked there would answer here.
        """
        ...

    async def line(self) -> str | None:
        """Return the next line that answers no question; None at the end of input."""
        ...

    def entry(self) -> AbstractContextManager[object]:
        """Have a row to enter lines into, on a terminal."""
        ...


class JsonOutput:
    """One JSON object per line; answers are words on standard input."""

    def __init__(self, out: TextIO | None = None, lines: Lines | None = None) -> None:
        """Write to `out`, read answers from `lines`."""
        self._out = out if out is not None else sys.stdout
        self._lines = lines or Lines()

    def tell(self, kind: str, /, **fields: object) -> None:
        """Write the event."""
        self._out.write(json.dumps({"type": kind, **fields}) + "\n")
        self._out.flush()

    @property
    def hears(self) -> bool:
        """A program does."""
        return True

    async def ask(
        self,
        question: str,
        yes: str,
        no: str,
        *,
        orders: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> bool | None:
        """Wait for one of the two words; what is neither order nor text is skipped."""
        while (line := await self._lines.next()) is not None:
            if line in (yes, no):
                return line == yes
            if orders is not None and line.startswith("/"):
                orders(line)
            elif text is not None:
                text(line)
        return None

    async def line(self) -> str | None:
        """Return the next line of the program that answers no question."""
        return await self._lines.next(patient=True)

    def entry(self) -> AbstractContextManager[object]:
        """Have none."""
        return nullcontext()


class PeopleOutput:
    """Sentences, and on a terminal one live line with meters."""

    def __init__(self, terminal: Terminal | None = None, lines: Lines | None = None) -> None:
        """Write to `terminal`, read answers from `lines`."""
        self.terminal = terminal or Terminal()
        self._lines = lines or Lines()
        self._state = ""
        self._level = ""
        self._words = ""
        self._entering = False
        self._attacks = AttackScreen(self.terminal)

    def tell(self, kind: str, /, **fields: object) -> None:
        """Write a sentence, or draw the live line again."""
        writer = getattr(self, f"_on_{kind}", None)
        if writer is not None:
            writer(fields)

    @property
    def hears(self) -> bool:
        """Whether somebody sits at a terminal; what else is on standard input is not for us."""
        return sys.stdin.isatty()

    async def ask(
        self,
        question: str,
        yes: str,
        no: str,
        *,
        orders: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> bool | None:
        """Ask on the terminal; y or n, /y or /n beside text, anything else is no answer."""
        if not self.hears:
            return None
        if not self._entering:
            self._lines.forget()
        slash = "/" if text is not None else ""
        self.terminal.say(f"{question} [{slash}y or {slash}n] " if slash else f"{question} [y/N] ")
        while line := await self._line():
            answer = _ANSWERS.get(line.lower().removeprefix(slash))
            if answer is not None and line.startswith(slash):
                return answer
            if orders is not None and line.startswith("/"):
                orders(line)
            elif text is not None:
                text(line)
            else:
                break
        return None

    async def line(self) -> str | None:
        """Return the next line that answers no question; it moves above the live line."""
        line = await self._lines.next(patient=True)
        self._echo(line or "")
        return line

    @contextmanager
    def entry(self) -> Iterator[None]:
        """Have a row below the live line."""
        with entering(self.terminal, self._lines) as self._entering:
            if self.hears:
                self._say("While you talk, /help lists what can be entered.", "dim")
            try:
                yield
            finally:
                self._entering = False
                self.terminal.settle()

    async def _line(self) -> str:
        line = await self._lines.next() or ""
        self._echo(line)
        return line

    def _echo(self, line: str) -> None:
        """Say what was entered above the live line."""
        if self.hears and not self._entering:
            self.terminal.swallow()
        if self.hears and line:
            self._say(self.terminal.fold("> ", harmless(line, limit=1000, lines=1)), "dim")

    def _say(self, text: str, *styles: str) -> None:
        self.terminal.say(self.terminal.paint(text, *styles))

    def _on_identity(self, f: Fields) -> None:
        done = "Made a new identity in" if f["created"] else "There is an identity in"
        self._say(f"{done} {f['home']}")
        self._say(f"Your key: {f['address']}", "dim")
        if f["created"]:
            self._say("Keep the passphrase: nobody can open the keys without it.")

    def _on_clinic(self, f: Fields) -> None:
        self._say(f"The key that vouches for people at {f['domain']}. Let them scan, or read:")
        self.terminal.give(str(f["code"]))

    def _on_member(self, f: Fields) -> None:
        state = "withdrawn" if f["withdrawn"] else "lapsed" if f["lapsed"] else ""
        until = state or f"until {_day(f['until'])}"
        self._say(f"{safe(str(f['address']))}  {until}", *(("yellow",) if state else ()))

    def _on_word(self, f: Fields) -> None:
        if f["file"]:
            self._say(f"{safe(str(f['address']))}: {f['file']}")
        else:
            self.terminal.give(str(f["word"]))

    def _on_organisation(self, f: Fields) -> None:
        self._say(f"You take the word of {f['domain']} for the keys of its people.", "green")
        self._say(f"  its key: {f['short']}; since {_day(f['since'])}", "dim")

    def _on_taken(self, f: Fields) -> None:
        who, domain = safe(str(f["address"])), safe(str(f["domain"]))
        if f["withdrawn"]:
            self._say(f"{domain} does not vouch for this key of {who} any more.", "yellow")
        else:
            self._say(f"{domain} vouches for {who} until {_day(f['until'])}.", "green")
        if not f["trusted"]:
            self._say(
                f"  Is {f['short']} its key? Ask, or scan its code: securecall org trust", "yellow"
            )

    def _on_backup(self, f: Fields) -> None:
        self._say(f"Saved {_held(f)} in {safe(str(f['file']))}", "green")
        self._say(f"Look at it now and then: securecall keys check {safe(str(f['file']))}", "dim")

    def _on_checked(self, f: Fields) -> None:
        self._say(f"This backup is whole: {_held(f)}.", "green")
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(_number(f["made"])))
        self._say(f"Made {made} on the device {safe(str(f['device']))}.", "dim")

    def _on_restored(self, f: Fields) -> None:
        self._say(f"Restored {_held(f)} in {safe(str(f['home']))}", "green")
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(_number(f["made"])))
        self._say(f"As it was on {made}; what came after is not in the backup.")
        self._say("This is a new device of yours: sign in, and your contacts learn of it.")
        self._say("Do not go on using the old one.", "yellow")

    def _on_locked(self, f: Fields) -> None:
        both = " and ".join(
            word for word in ("a passphrase" if f["passphrase"] else "", str(f["keeper"])) if word
        )
        self._say(f"Your keys open with {both} from now on.", "green")

    def _on_forgotten(self, f: Fields) -> None:
        self._say("Every conversation is forgotten. Chat begins anew when you sign in.", "green")
        if not f["holds_root"]:
            self._say("Then have your new chat keys signed: securecall keys request", "yellow")

    def _on_ticket(self, f: Fields) -> None:
        self._say("A ticket for one person, for one call. Send it to your friend:", "bold")
        self._say("")
        self.terminal.give(str(f["ticket"]))
        self._say("")
        if f["picture"]:
            self.terminal.give(str(f["picture"]))
        self._say("Whoever holds it can call you, so send it over a channel you trust.", "dim")
        self._say(f"It leads to {f['host']}:{f['port']}. Your friend runs:", "dim")
        self._say("    securecall call -          and pastes it: what is in a command others see")

    def _on_listening(self, f: Fields) -> None:
        self._say(f"Waiting for calls on {f['host']}:{f['port']}. Ctrl-C ends it.")

    def _on_ready(self, f: Fields) -> None:
        if f["account"]:
            self._say(f"Waiting for calls to {safe(str(f['account']))}. Ctrl-C ends it.")

    def _on_registration(self, f: Fields) -> None:
        account, why = safe(str(f["account"])), safe(str(f["why"]))
        if f["state"] == "registered":
            self._say(f"{account} can be called again.", "green")
        elif f["state"] == "connecting":
            self._say(f"The server of {account} is gone; calling back until it answers.", "yellow")
        elif f["state"] == "refused":
            self._say(f"{account} cannot be called any more: {why}", "red", "bold")

    def _on_incoming(self, f: Fields) -> None:
        wishes = [word for key, word in (("shows", "pictures"), ("writes", "text")) if f.get(key)]
        shows = f", with {' and '.join(wishes)}" if wishes else ""
        if f.get("replaces"):
            who, before = _caller(f), safe(str(f["replaces"]))
            known = "whose key you know" if f["known"] else "not proven yet"
            self._say(f"{before} hands you over to {who} ({known}){shows}.", "bold")
            self._say("  To take that call: /accept, and if not: /decline", "dim")
            return
        if str(f["caller"]).endswith("@anonymous.invalid"):
            self._say(f"Somebody calls{shows}. Their key shows once you answer.", "bold")
            return
        known = "whose key you know" if f["known"] else "not proven yet"
        self._say(f"A call from {_caller(f)} ({known}){shows}.", "bold")

    def _on_state(self, f: Fields) -> None:
        self._state, peer = str(f["state"]), safe(str(f.get("peer", "")))
        if self._state in ("calling", "answering"):
            self._level = self._words = ""  # those of another call, if there is one
        if not self.terminal.live:
            self._say(f"{self._state} {peer}".rstrip())
        elif self._state == "connected":
            self._say(f"Connected with {peer}.", "bold")
        else:
            self.terminal.show(f"  {self._state} …")

    def _on_security(self, f: Fields) -> None:
        level = str(f["level"])
        if level == self._level:
            return
        self._level = level
        style = LEVEL_STYLES.get(level, "red")
        quantum = ", safe against quantum computers" if f["pq"] and f["is_e2ee"] else ""
        self._say(f"{f['level_words']}{quantum}.", style, "bold")
        self._say(f"  {f['reason']}; {f['srtp_profile']}", "dim")
        for warning in _texts(f["warnings"]):
            self._say(f"  {warning}", "yellow")

    def _on_unbound(self, f: Fields) -> None:
        address = safe(str(f["address"]))
        self._say(f"You checked their key, not whose address {address.removeprefix('sip:')} is.")
        self._say("  If it is theirs, say so, and you know them when they call from there:", "dim")
        self._say(f"  securecall contacts --add {f['key']} {_argument(f['address'])}", "dim")

    def _on_words(self, f: Fields) -> None:
        self._words = " ".join(_texts(f["words"]))
        if not self.terminal.live:  # the live line shows them all the time
            self._say(f"The words of this call: {self._words}", "bold")

    def _on_levels(self, f: Fields) -> None:
        if self.terminal.live:
            show_levels(self.terminal, f, level=self._level, words=self._words)

    def _on_sound_devices(self, f: Fields) -> None:
        show_sound_devices(self.terminal, f)

    def _on_level(self, f: Fields) -> None:
        dbfs = _number(f["dbfs"])
        self.terminal.show(f"  Speak: {self.terminal.meter(dbfs, 30)} {dbfs:4.0f} dBFS")

    def _on_listened(self, f: Fields) -> None:
        show_listened(self.terminal, f)

    def _on_pictures(self, f: Fields) -> None:
        if f["coming"]:
            self._say(f"Pictures come: {f['width']}x{f['height']}, {f['codec']}.")
        else:
            self._say("No pictures come any more.", "yellow")

    def _on_sample(self, f: Fields) -> None:
        ends = ", and the call ends after it" if f["ends"] else ""
        self._say(f"You send a sample of speech{ends}. To talk: --mic", "dim")

    def _on_hold(self, f: Fields) -> None:
        peer = safe(str(f["peer"]))
        if f["held"]:
            self._say(f"{peer} put you on hold: nothing of yours is heard or seen.", "yellow")
        else:
            self._say(f"{peer} took you back.", "green")

    def _on_peer_records(self, f: Fields) -> None:
        self._say(f"{safe(str(f['peer']))} records this call.", "yellow", "bold")

    def _on_shown(self, f: Fields) -> None:
        shown, seen = _texts(f["shown"]), _texts(f["seen"])
        if not shown:
            self._say("There are no pictures in this call any more.")
        elif f["on_hold"]:
            return  # that was said, and nobody is seen
        elif seen:
            self._say(f"They may show you their {' and '.join(seen)} now.")
        else:
            self._say("They show no pictures any more.")

    def _on_picture_asked(self, f: Fields) -> None:
        self._say(f"They wished to show you their {f['what']}; this call takes no such pictures.")

    def _on_typed(self, f: Fields) -> None:
        lines = f["lines"]
        for line in lines if isinstance(lines, list) else ():
            self._say(self.terminal.fold("They: ", harmless(str(line), limit=1000, lines=1)))

    def _on_transfer(self, f: Fields) -> None:
        short = safe(parse_address(str(f["address"])).short) if f["address"] else ""
        if f["asked"]:
            self._say(f"They ask you to call {short} instead.", "bold")
            self._say("  To call them, as any other person: /accept, and if not: /decline", "dim")
        elif f["address"]:
            self._say(f"They ask you to call {short} instead. Nobody was called; you can do so:")
            self._say(f"  securecall call {_argument(f['address'])}")
        else:
            self._say(f"They ask you to call {safe(str(f['target']))}, which is nobody's address.")

    def _on_handing_over(self, f: Fields) -> None:
        peer, to = safe(str(f["peer"])), safe(str(f["to"]))
        if f["step"] == "asked":
            self._say(f"Asking {peer} to call {to}; until that is answered you stay connected.")
        elif f["step"] == "ringing":
            self._say("They say that it rings there.", "dim")

    def _on_handed_over(self, f: Fields) -> None:
        peer, to = safe(str(f["peer"])), safe(str(f["to"]))
        if f["done"]:
            self._say(f"{peer} talks with {to} now.", "green")
        else:
            self._say(f"{peer} did not reach {to} ({f['reason']}); you are still connected.")

    def _on_orders(self, f: Fields) -> None:
        orders = f["orders"]
        for each in orders if isinstance(orders, list) else ():
            self._say(f"  {each['order'].ljust(18)} {each['does']}", "dim")

    def _on_ended(self, f: Fields) -> None:
        self.terminal.clear()
        self._state = self._level = self._words = ""
        self._say(f"The call is over ({f['reason']}).")

    def _on_recorded(self, f: Fields) -> None:
        self._say(f"Recorded {_number(f['seconds']):.1f} s: {f['path']}")

    def _on_report(self, f: Fields) -> None:
        if f["keys"]:  # else nobody could have heard what was never sent
            self._say("")
            self._say(safe_lines(fitted_page(self.terminal, f)))
            self._say("")
        if f["file"]:
            file = safe(str(f["file"]), 1000)
            self._say(f"The report is in {file}", "bold")
            self._say(f"  check it: securecall report verify {file}", "dim")
        elif f["keys"]:
            self._say("The report was not kept. To keep one: --report FILE", "dim")

    def _on_page(self, f: Fields) -> None:
        self.terminal.say(safe_lines(fitted_page(self.terminal, f)))

    def _on_verified(self, f: Fields) -> None:
        show_verified(self.terminal, f)

    def _on_contact(self, f: Fields) -> None:
        style = {"VERIFIED": "green", "PINNED": "cyan"}.get(str(f["state"]), "dim")
        state = self.terminal.paint(str(f["state"]).lower().ljust(10), style)
        self.terminal.say(f"{state} {safe(str(f['short']))}  ({f['how'] or 'no key yet'})")

    def _on_nobody(self, f: Fields) -> None:
        self._say("You know nobody yet. A call makes a contact.")

    def _on_call(self, f: Fields) -> None:
        way = "missed" if f["missed"] else "to" if f["outgoing"] else "from"
        seconds = round(_number(f["talked"]))
        how = f"{seconds // 60}:{seconds % 60:02d}" if seconds else str(f["ended"])
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(_number(f["began"])))
        painted = self.terminal.paint(way.ljust(7), "yellow" if f["missed"] else "dim")
        level = "" if f["level"] == "NONE" else f"  {str(f['level']).lower()}"
        number = str(f["number"]).rjust(4)
        self.terminal.say(f"{number}  {when}  {painted}{safe(str(f['peer']))}  {how}{level}")

    def _on_number(self, f: Fields) -> None:
        groups = str(f["number"]).split()
        self._say(f"Your safety number with {safe(str(f['short']))}:", "bold")
        for row in range(0, len(groups), 4):
            self._say("    " + "  ".join(groups[row : row + 4]))
        if f["picture"]:
            self.terminal.give(str(f["picture"]))
        self._say(f"The same as a code: {f['code']}", "dim")
        if f["state"] == "VERIFIED":
            self._say("This person is verified.", "green")
        else:
            self._say("If both of you see the same number, run this again with --confirm.")

    def _on_keys(self, f: Fields) -> None:
        show_keys(self.terminal, f)

    def _on_contact_keys(self, f: Fields) -> None:
        show_contact_keys(self.terminal, f)

    def _on_device_request(self, f: Fields) -> None:
        show_device_request(self.terminal, f)

    def _on_code(self, f: Fields) -> None:
        show_code(self.terminal, f)

    def _on_lab(self, f: Fields) -> None:
        show_lab(self.terminal, f)

    def _on_served(self, f: Fields) -> None:
        show_served(self.terminal, f)

    def _on_person(self, f: Fields) -> None:
        show_person(self.terminal, f)

    def _on_request(self, f: Fields) -> None:
        show_request(self.terminal, f)

    def _on_devices(self, f: Fields) -> None:
        show_devices(self.terminal, f)

    def _on_message(self, f: Fields) -> None:
        show_message(self.terminal, f)

    def _on_sent(self, f: Fields) -> None:
        show_sent(self.terminal, f)

    def _on_saved(self, f: Fields) -> None:
        self._say(f"    saved: {safe(str(f['path']))}", "green")

    def _on_note(self, f: Fields) -> None:
        self._say(str(f["text"]), "dim")

    def _on_looking(self, f: Fields) -> None:
        from securecall.cli.prescription import TITLES

        at = TITLES.get(str(f["at"]), "")
        self.terminal.show(self.terminal.paint(f"Looking at the account: {at} …", "dim"))

    def _on_diagnosis(self, f: Fields) -> None:
        from securecall.cli.prescription import show  # nothing else needs it

        self.terminal.clear()
        show(self.terminal, f)

    def _on_threats(self, f: Fields) -> None:
        self._attacks.threats(_many(f["threats"]))

    def _on_attack(self, f: Fields) -> None:
        self._attacks.begin(f)

    def _on_attacking(self, f: Fields) -> None:
        self._attacks.attacking(f)

    def _on_trial(self, f: Fields) -> None:
        self._attacks.trial(f)

    def _on_attacked(self, f: Fields) -> None:
        self._attacks.end(f)

    def _on_attacks(self, f: Fields) -> None:
        self._attacks.table(_many(f["threats"]))

    def _on_error(self, f: Fields) -> None:
        self.terminal.clear()


def _held(f: Fields) -> str:
    contacts, messages = _count(f["contacts"], "contact"), _count(f["messages"], "message")
    calls = _count(f["calls"], "report")
    return f"{contacts}, {messages} and {calls} of calls"


def _count(number: object, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def security_fields(state: SecurityState) -> dict[str, object]:
    """Return a snapshot of a call's protection as plain values."""
    identity = state.identity
    return {
        "level": state.level.name,
        "level_words": state.words,
        "is_e2ee": state.level >= SecurityLevel.E2EE,
        "reason": state.reason,
        "keying": state.keying.value,
        "srtp_profile": state.srtp_profile,
        "sframe": state.sframe,
        "pq": state.pq,
        "group": identity.group if identity else "",
        "sas_confirmed": state.sas_confirmed,
        "warnings": list(state.warnings),
    }


def safe_lines(text: str) -> str:
    """Return text of many lines without any other control character."""
    return "\n".join(safe(line) for line in text.splitlines())


def _caller(f: Fields) -> str:
    """Return who calls; of a long address what is at its end, for there stands whose it is."""
    address = str(f["caller"])
    return safe(address if len(address) <= _LONG else parse_address(address).short)


def _argument(text: object) -> str:
    """Return it as one word of a shell: people copy what is printed, and others chose it."""
    return shlex.quote(safe(str(text)))


def _texts(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else []


def _day(unix: object) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(_number(unix)))


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _many(value: object) -> list[Fields]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
