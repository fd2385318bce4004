"""Call somebody, play a sound file to them, and record what they say.

    python place_call.py [OPTIONS] FOLDER PASSPHRASE_FILE WHOM SOUND.wav RECORDING.wav

FOLDER keeps your keys, encrypted. WHOM is a ticket from answer_calls.py or `securecall ticket`, or
an address, with --account ADDRESS PASSWORD_FILE SERVER [--authorities PEM]. With --engine pjsua2
PJSIP carries the call: servers on the way can listen.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import securecall as sc


async def main(o: Namespace) -> None:
    hop, secret = o.engine == "pjsua2", sc.Secret.from_file(o.passphrase)
    async with sc.open(o.folder, passphrase=secret, create=True) as me:
        if o.account:
            sip, password, at = o.account[0], sc.Secret.from_file(o.account[1]), o.account[2]
            how = {"server_name": at.split(":")[0], "authorities": o.authorities}
            how |= {"provider_mode": "gateway"} if hop else {}  # keys pass through the server
            await me.sign_in(sip, password=password, server=at, engine=o.engine, **how)
        async with me.call(o.whom, require=None if hop else sc.E2EE) as call:
            security = await call.connected()  # raises CallFailed or SecurityError
            print(security.level.words, *(() if hop else ("- words:", *call.sas.words)))
            # Read the words to each other. If they are the same: await call.confirm_sas()
            call.record(o.recording)
            await call.play(sc.FileSource(o.sound))
        print(call.report)  # who could have listened


if __name__ == "__main__":
    parser = ArgumentParser(usage=__doc__)
    for name in ("folder", "passphrase", "whom", "sound", "recording", "--engine"):
        parser.add_argument(name, default="native")
    parser.add_argument("--account", nargs=3)
    parser.add_argument("--authorities", type=Path)
    sc.run(main(parser.parse_args()))
