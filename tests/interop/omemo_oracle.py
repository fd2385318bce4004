"""OMEMO by others as a process: JSON lines in, JSON lines out; run by .venv-oracle only.

One device of somebody, driven through the public interface of python-omemo. It knows of the world
what it is told (`know`), and says what it would publish and send.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import sys
from xml.etree import ElementTree

from omemo import SessionManager, TrustLevel
from omemo.storage import Just, Nothing, Storage

NAMESPACES = {"oldmemo": "eu.siacs.conversations.axolotl", "twomemo": "urn:xmpp:omemo:2"}


class Memory(Storage):
    def __init__(self):
        super().__init__(True)
        self.kept = {}

    async def _load(self, key):
        return Just(self.kept[key]) if key in self.kept else Nothing()

    async def _store(self, key, value):
        self.kept[key] = value

    async def _delete(self, key):
        self.kept.pop(key, None)


class World:
    """What the oracle published and sent, and what it was told of others."""

    def __init__(self, name):
        self.etree = importlib.import_module(f"{name}.etree")
        self.lists, self.bundles, self.sent = {}, {}, []
        self.own_bundle = self.own_list = None


def manager_class(world):
    def text(element):
        return ElementTree.tostring(element, encoding="unicode")

    class Manager(SessionManager):
        @staticmethod
        async def _upload_bundle(bundle):
            world.own_bundle = text(world.etree.serialize_bundle(bundle))

        @staticmethod
        async def _download_bundle(namespace, bare_jid, device_id):
            element = ElementTree.fromstring(world.bundles[bare_jid, device_id])
            return world.etree.parse_bundle(element, bare_jid, device_id)

        @staticmethod
        async def _delete_bundle(namespace, device_id):
            pass

        @staticmethod
        async def _upload_device_list(namespace, device_list):
            world.own_list = text(world.etree.serialize_device_list(device_list))

        @staticmethod
        async def _download_device_list(namespace, bare_jid):
            if bare_jid not in world.lists:
                return {}
            return world.etree.parse_device_list(ElementTree.fromstring(world.lists[bare_jid]))

        async def _evaluate_custom_trust_level(self, device):
            return TrustLevel.TRUSTED

        async def _make_trust_decision(self, undecided, identifier):
            raise AssertionError("everybody is trusted")

        @staticmethod
        async def _send_message(message, bare_jid):
            world.sent.append(text(world.etree.serialize_message(message)))

    return Manager


async def serve(name):
    namespace = NAMESPACES[name]
    world = World(name)
    manager_type = manager_class(world)
    manager, own_jid = None, ""
    for line in sys.stdin:
        order = json.loads(line)
        answer = {}
        try:
            if order["do"] == "start":
                own_jid = order["jid"]
                storage = Memory()
                backend = getattr(importlib.import_module(name), name.capitalize())(storage)
                manager = await manager_type.create([backend], storage, own_jid, None, "undecided")
                await manager.after_history_sync()  # it begins as if reading an archive
                device, _ = await manager.get_own_device_information()
                answer = {"device": device.device_id, "identity": device.identity_key.hex()}
            elif order["do"] == "know":
                world.lists[order["jid"]] = order["list"]
                for number, bundle in order["bundles"].items():
                    world.bundles[order["jid"], int(number)] = bundle
                devices = world.etree.parse_device_list(ElementTree.fromstring(order["list"]))
                await manager.update_device_list(namespace, order["jid"], devices)
            elif order["do"] == "encrypt":
                messages, errors = await manager.encrypt(
                    frozenset([order["to"]]), {namespace: bytes.fromhex(order["text"])}
                )
                ((message, _),) = messages.items()
                element = world.etree.serialize_message(message)
                answer = {
                    "stanza": ElementTree.tostring(element, encoding="unicode"),
                    "errors": [str(e) for e in errors],
                }
            elif order["do"] == "decrypt":
                element = ElementTree.fromstring(order["stanza"])
                parse = world.etree.parse_message
                if inspect.iscoroutinefunction(parse):
                    message = await parse(element, order["from"], own_jid, manager)
                else:
                    message = parse(element, order["from"])
                plaintext, device, _ = await manager.decrypt(message)
                answer = {
                    "text": None if plaintext is None else plaintext.hex(),
                    "identity": device.identity_key.hex(),
                }
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        answer |= {"bundle": world.own_bundle, "list": world.own_list, "sent": world.sent}
        world.sent = []
        print(json.dumps(answer), flush=True)


logging.disable()
asyncio.run(serve(sys.argv[1]))
