"""Calls and chat over open protocols, which nobody in between can listen to or read.

Names are imported when they are first used, so that `import securecall` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securecall import events as events
    from securecall import sync as sync
    from securecall.account import Account as Account
    from securecall.address import Address as Address
    from securecall.address import parse_address as parse_address
    from securecall.calls.call import Call as Call
    from securecall.calls.pictures import CAMERA as CAMERA
    from securecall.calls.pictures import SCREEN as SCREEN
    from securecall.calls.report import Consent as Consent
    from securecall.calls.report import ListenerReport as ListenerReport
    from securecall.chat.conversation import Conversation as Conversation
    from securecall.chat.message import Delivery as Delivery
    from securecall.chat.message import DeviceTrust as DeviceTrust
    from securecall.chat.message import Message as Message
    from securecall.chat.message import Protection as Protection
    from securecall.chat_account import ChatAccount as ChatAccount
    from securecall.client import Client as Client
    from securecall.client import IncomingCall as IncomingCall
    from securecall.client import open as open
    from securecall.contacts import Contact as Contact
    from securecall.errors import Busy as Busy
    from securecall.errors import CallFailed as CallFailed
    from securecall.errors import Cancelled as Cancelled
    from securecall.errors import CertificateError as CertificateError
    from securecall.errors import ChangeRefused as ChangeRefused
    from securecall.errors import ConnectFailed as ConnectFailed
    from securecall.errors import Declined as Declined
    from securecall.errors import DeviceError as DeviceError
    from securecall.errors import DeviceLost as DeviceLost
    from securecall.errors import DowngradeError as DowngradeError
    from securecall.errors import EndReason as EndReason
    from securecall.errors import FileNotIntact as FileNotIntact
    from securecall.errors import FipsError as FipsError
    from securecall.errors import HistoryCorrupt as HistoryCorrupt
    from securecall.errors import IdentityChanged as IdentityChanged
    from securecall.errors import IdentityMismatch as IdentityMismatch
    from securecall.errors import Incompatible as Incompatible
    from securecall.errors import ListenFailed as ListenFailed
    from securecall.errors import LocalError as LocalError
    from securecall.errors import LoginRefused as LoginRefused
    from securecall.errors import MessageFailed as MessageFailed
    from securecall.errors import NameNotFound as NameNotFound
    from securecall.errors import NetworkError as NetworkError
    from securecall.errors import NoAnswer as NoAnswer
    from securecall.errors import NoDevices as NoDevices
    from securecall.errors import NotPrimary as NotPrimary
    from securecall.errors import NotTransferred as NotTransferred
    from securecall.errors import PeerVanished as PeerVanished
    from securecall.errors import PhraseInvalid as PhraseInvalid
    from securecall.errors import PolicyRefused as PolicyRefused
    from securecall.errors import ProtocolError as ProtocolError
    from securecall.errors import Reason as Reason
    from securecall.errors import RegistrationFailed as RegistrationFailed
    from securecall.errors import Revoked as Revoked
    from securecall.errors import RoomClosed as RoomClosed
    from securecall.errors import RoomNotPrivate as RoomNotPrivate
    from securecall.errors import SecurecallError as SecurecallError
    from securecall.errors import SecurityError as SecurityError
    from securecall.errors import StoreBusy as StoreBusy
    from securecall.errors import StoreCorrupt as StoreCorrupt
    from securecall.errors import TicketRefused as TicketRefused
    from securecall.errors import TransferFailed as TransferFailed
    from securecall.errors import Unreachable as Unreachable
    from securecall.errors import Unsupported as Unsupported
    from securecall.errors import UntrustedDevices as UntrustedDevices
    from securecall.errors import UsageError as UsageError
    from securecall.errors import WrongPassphrase as WrongPassphrase
    from securecall.errors import XmppRefused as XmppRefused
    from securecall.media.conference import Conference as Conference
    from securecall.media.conference import Level as Level
    from securecall.media.devices import Microphone as Microphone
    from securecall.media.devices import SoundDevice as SoundDevice
    from securecall.media.devices import Speaker as Speaker
    from securecall.media.devices import sound_devices as sound_devices
    from securecall.media.endpoints import FileSource as FileSource
    from securecall.media.endpoints import Recorder as Recorder
    from securecall.media.endpoints import SilenceSource as SilenceSource
    from securecall.media.endpoints import ToneSource as ToneSource
    from securecall.media.frames import AudioFrame as AudioFrame
    from securecall.media.levels import Levels as Levels
    from securecall.media.processing import VoiceProcessing as VoiceProcessing
    from securecall.media.video.endpoints import VideoInput as VideoInput
    from securecall.media.video.endpoints import VideoOutput as VideoOutput
    from securecall.media.video.frames import VideoFrame as VideoFrame
    from securecall.media.video.pattern import TestPattern as TestPattern
    from securecall.media.video.recorder import VideoRecorder as VideoRecorder
    from securecall.media.video.sources import Camera as Camera
    from securecall.media.video.sources import Screen as Screen
    from securecall.media.video.sources import VideoFile as VideoFile
    from securecall.policy import IpPrivacy as IpPrivacy
    from securecall.policy import Policy as Policy
    from securecall.policy import SecurityLevel as SecurityLevel
    from securecall.policy import SecurityState as SecurityState
    from securecall.restoring import join_identity as join_identity
    from securecall.restoring import restore_from_phrase as restore_from_phrase
    from securecall.running import run as run
    from securecall.secret import Secret as Secret
    from securecall.sip.registration import RegistrationState as RegistrationState
    from securecall.store.backup import Backup as Backup
    from securecall.store.backup import check_backup as check_backup
    from securecall.store.backup import restore as restore
    from securecall.store.lock import Cost as Cost
    from securecall.store.lock import Lock as Lock
    from securecall.store.lock import Rounds as Rounds
    from securecall.store.system_keyring import SystemKeyring as SystemKeyring
    from securecall.store.token import Token as Token
    from securecall.transport.turn import TurnServer as TurnServer

    HOP_BY_HOP = SecurityLevel.HOP_BY_HOP
    OPPORTUNISTIC = SecurityLevel.OPPORTUNISTIC
    E2EE = SecurityLevel.E2EE
    VERIFIED = SecurityLevel.VERIFIED

__version__ = "0.1.0.dev0"

_HOMES = {
    "account": "Account",
    "address": "Address parse_address",
    "calls.call": "Call",
    "calls.pictures": "CAMERA SCREEN",
    "calls.report": "Consent ListenerReport",
    "chat.conversation": "Conversation",
    "chat.message": "Delivery DeviceTrust Message Protection",
    "chat_account": "ChatAccount",
    "client": "Client IncomingCall open",
    "contacts": "Contact",
    "errors": (
        "Busy CallFailed Cancelled CertificateError ChangeRefused ConnectFailed Declined "
        "DeviceError DeviceLost DowngradeError EndReason FileNotIntact FipsError "
        "HistoryCorrupt IdentityChanged IdentityMismatch Incompatible ListenFailed "
        "LocalError LoginRefused MessageFailed NameNotFound NetworkError NoAnswer NoDevices "
        "NotPrimary NotTransferred PeerVanished PhraseInvalid PolicyRefused ProtocolError Reason "
        "RegistrationFailed Revoked RoomClosed RoomNotPrivate SecurecallError SecurityError "
        "StoreBusy StoreCorrupt TicketRefused TransferFailed Unreachable Unsupported "
        "UntrustedDevices UsageError WrongPassphrase XmppRefused"
    ),
    "media.conference": "Conference Level",
    "media.devices": "Microphone SoundDevice Speaker sound_devices",
    "media.endpoints": "FileSource Recorder SilenceSource ToneSource",
    "media.frames": "AudioFrame",
    "media.levels": "Levels",
    "media.processing": "VoiceProcessing",
    "media.video.endpoints": "VideoInput VideoOutput",
    "media.video.frames": "VideoFrame",
    "media.video.pattern": "TestPattern",
    "media.video.recorder": "VideoRecorder",
    "media.video.sources": "Camera Screen VideoFile",
    "policy": "IpPrivacy Policy SecurityLevel SecurityState",
    "restoring": "join_identity restore_from_phrase",
    "running": "run",
    "secret": "Secret",
    "sip.registration": "RegistrationState",
    "store.backup": "Backup check_backup restore",
    "store.lock": "Cost Lock Rounds",
    "store.system_keyring": "SystemKeyring",
    "store.token": "Token",
    "transport.turn": "TurnServer",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_MODULES = frozenset({"events", "sync"})
_LEVELS = frozenset({"HOP_BY_HOP", "OPPORTUNISTIC", "E2EE", "VERIFIED"})

__all__ = sorted({*_HOME_OF, *_LEVELS, *_MODULES, "__version__"})


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name in _LEVELS:
        value: object = getattr(import_module("securecall.policy").SecurityLevel, name)
    elif name in _HOME_OF:
        value = getattr(import_module(f"securecall.{_HOME_OF[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"securecall.{name}")
    else:
        raise AttributeError(f"module 'securecall' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, imported or not."""
    return list(__all__)
