#!/usr/bin/env python3
"""verify_report.py FILE: check a listener report offline; written from listener-report.md alone.
Exit codes: 0 proved, 8 something is missing, 5 something is false, 4 no report."""

import base64, hashlib, json, re, struct, sys
from pathlib import Path
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

SCHEMA = json.loads(Path(__file__).with_name("listener-report.schema.json").read_text("utf-8"))
ORDER = ("held the key", "could hear it through this device", "could have substituted a key",
         "saw metadata only", "nothing")
HELD, LET_IN, SUBSTITUTE, METADATA, NOTHING = range(5)
SECTIONS = ("call", "way", "intervals", "events", "countersignature", "statements", "limits")
WRONG = (ValueError, RecursionError, InvalidSignature, UnsupportedAlgorithm)
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}

def lp(data): return struct.pack(">I", len(data)) + data
def label(text): return lp(b"securecall-id/1 " + text)
def h(data): return hashlib.sha512(data).digest()
def canonical(x): return json.dumps(x, sort_keys=True, separators=(",", ":")).encode("ascii")
def within(host, domain): return domain != "" and (host == domain or host.endswith("." + domain))
def need(holds, why):
    if not holds:
        raise ValueError(why)

def b64(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, "not canonical base64url")
    return data

def signed(key, signature, data):
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except WRONG:
        return False
    return True

def read(data):
    """Strict JSON of the schema's form; ValueError for anything else."""
    need(len(data) <= 1 << 20, "too large")
    text, depth = data.decode("utf-8"), 0
    for token in re.findall(r'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?|[][{}]', text, re.DOTALL):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token, 0)
        need(depth <= 8, "too deep")
    def members(pairs):
        need(len(dict(pairs)) == len(pairs), "a member twice")
        return dict(pairs)
    def integer(digits):
        need(len(digits) <= 16 and 0 <= int(digits) < 1 << 53 and digits[0] != "-", "out of range")
        return int(digits)
    def refuse(_): need(False, "a number that is not whole")
    d = json.loads(text, object_pairs_hook=members, parse_int=integer, parse_float=refuse,
                   parse_constant=refuse)
    need(fits(d, SCHEMA), "not of the form of version 1")
    return d

def fits(x, s):
    """As much of JSON Schema as the schema uses."""
    if "anyOf" in s:  # that, or null
        return x is None or fits(x, s["anyOf"][0])
    if "enum" in s:
        return type(x) is str and x in s["enum"]
    if type(x) is not TYPES[s["type"]]:
        return False
    if s["type"] == "object":
        of = s["properties"]
        return x.keys() == of.keys() and all(fits(item, of[name]) for name, item in x.items())
    if s["type"] == "array":
        return s["minItems"] <= len(x) <= s["maxItems"] and all(fits(i, s["items"]) for i in x)
    if s["type"] == "integer":
        return s["minimum"] <= x <= s["maximum"]
    return s["type"] != "string" or (len(x) <= s["maxLength"] and re.search(s.get("pattern", ""), x)
                                     and not re.search(s["not"]["pattern"], x))

def statement(text, unix):
    """(hash, root fingerprint, {device id: key}, exp) of a statement that holds, else nothing."""
    try:
        jws = json.loads(data := b64(text or ""))
        payload, made = json.loads(b64(jws["payload"])), {}
        for one in jws["signatures"]:
            header = json.loads(b64(one["protected"]))
            need(header["typ"] == "securecall-identity+jws", "another kind of statement")
            signing = f"{one['protected']}.{jws['payload']}".encode("ascii")
            made[header["alg"]] = (b64(one["signature"]), signing)
        root, seq, iat, exp, devices = *map(payload.get, ("root", "seq", "iat", "exp")), {}
        public, post = b64(root["ed25519"]), b64(root.get("mldsa65", ""))
        need(signed(public, *made.pop("Ed25519")), "not signed by its root")
        if post:
            mldsa.MLDSA65PublicKey.from_public_bytes(post).verify(*made.pop("ML-DSA-65"))
        need(not made and max(iat, seq / 1000) - unix <= 86400 and iat < exp <= iat + 1209600, "not then")
        fingerprint = h(label(b"root") + lp(public) + lp(post))
        for item in payload["devices"]:
            entry = json.loads(raw := b64(item["entry"]))
            key, pop = b64(entry["ed25519"]), b64(item["pop"]["ed25519"])
            need(signed(key, pop, label(b"pop") + fingerprint + h(raw)), "a key nobody holds")
            if entry["id"] not in payload["revoked"] and unix <= entry["not_after"]:
                devices[entry["id"]] = key.hex()
    except (*WRONG, KeyError, TypeError, AttributeError):
        return None, None, {}, 0
    return h(data).hex(), fingerprint.hex(), devices, exp

def keys(i):
    who = i["identity"] or {}
    return i["medium"], i["keying"], i["srtp_profile"], *map(who.get, ("root", "device", "group"))

def least(way, i, passed):
    """{(role, name): the least it could have done}; name None stands for any."""
    who, keying = i["identity"], i["keying"]
    server, own, peer = way["server"], way["own_domain"], way["peer_domain"]
    bare, opened = keying == "none" and not passed, keying == "none" and passed
    phones = keying != "none" and way["gateways"] and "own-provider"
    closed = (keying == "dtls-srtp" and i["level"] in ("E2EE", "VERIFIED") and not way["gateways"]
              and who and not who["stale"]
              and (who["trust"] in ("pinned", "verified") or i["sas_confirmed"]))
    found = {("network", None): (network := METADATA if bare or closed else HELD if opened else SUBSTITUTE)}
    found |= {(role, None): NOTHING if bare else HELD for role in ("you", "peer")}
    if not way["direct"] and (server or way["hops"] or way["protocol"]):
        roles = {server: "own-provider"} if server else {}
        for hop in way["hops"]:
            foreign = "peer-provider" if within(hop, peer) else "proxy"
            roles.setdefault(hop, "own-provider" if within(hop, own) else foreign)
        if peer not in ("", own, server) and "peer-provider" not in roles.values():
            roles[peer] = "peer-provider"
        found |= {(r, n): HELD if keying == "sdes" or r == phones else network for n, r in roles.items()}
    found |= {("relay", name): METADATA if keying == "sdes" else network for name in way["relays"]}
    found |= {("gateway", name): METADATA if bare else HELD for name in way["gateways"]}
    found |= {("conference", name): LET_IN for name in way["mixed_with"]}
    if way["page"]:
        found["page", way["page"]] = METADATA if bare else HELD if opened else SUBSTITUTE
    if who and keying != "none" and who["trust"] != "verified" and not i["sas_confirmed"]:
        how = who["how"] if who["trust"] == "pinned" else "sas"
        if {way["ticket"], how} & {"link", "bearer"}:
            found["ticket-channel", None] = SUBSTITUTE
        if how in ("directory", "organisation"):
            found[how, (how == "organisation" and who["organisation"]) or peer or "unknown"] = SUBSTITUTE
        elif how not in ("link", "bearer", "contact", "import", "qr", "digits", "sas"):
            found["first-call", None] = SUBSTITUTE
    return found

def verify(d):
    """(verdict, parts that are false) of a document that `read` returned."""
    call, way, intervals, events, part, statements = (d[name] for name in SECTIONS[:6])
    record, why, seal, last = part["record"], part["missing"], d["seal"], intervals[-1]
    stated = {name: statement(statements[name], call["began"]) for name in ("ours", "theirs")}
    ends = (record["caller"], record["callee"]) if record else ()
    ours, theirs = ends[:: 1 if call["direction"] == "outgoing" else -1] or (None, None)
    kinds, x, found = [e["kind"] for e in events["seen"]], bytes.fromhex, []  # part, is it false
    if seal:
        found += [(s, seal["digests"][s] != h(canonical(d[s])).hex()) for s in SECTIONS]
        body = canonical({"type": d["type"], "version": d["version"], "digests": seal["digests"]})
        own = [ours["key"]] if record else stated["ours"][2].values()
        holds = signed(x(seal["key"]), x(seal["signature"]), label(b"listener-report") + h(body))
        found.append(("seal", not holds or seal["key"] not in own))
    if record:
        data, said = label(b"report") + h(canonical(record)), ours["said"]
        for name, end, side in (("our", ours, "ours"), ("their", theirs, "theirs")):
            made, (hashed, root, devices, _) = part[side], stated[side]
            found.append((f"{name}-signature", made and not signed(x(end["key"]), x(made), data)))
            found.append(("statements", (hashed, root, devices.get(end["device"])) != (
                end["statement"], end["root"], end["key"])))
        late, length = call["began"] - record["began"], call["lasted_ms"] - intervals[0]["from_ms"]
        found += [
            ("countersignature", not part["ours"] or bool(part["theirs"]) == bool(why)),
            ("call", call["peer"] != theirs["address"] or abs(late) > 600),
            ("call", abs(length - 100 * record["lasted_ds"]) > 10_000),
            ("intervals", (last["level"], *keys(last)[1:]) != (said["level"], record["keying"],
             record["srtp"], theirs["root"], theirs["device"], record["group"])),
            ("intervals", any(i["sas_confirmed"] for i in intervals) != said["compared"]),
            ("events", min(events["refused"], 65535) != said["refused"]),
            ("events", ("recording-started" in kinds) != said["recorded"]),
        ]
    else:
        found.append(("countersignature", part["ours"] or part["theirs"] or not why))
        found.append(("statements", statements["theirs"] is not None and last["identity"]
                      and stated["theirs"][1] != last["identity"]["root"]))
    refused = kinds.count("change-refused")
    found.append(("call", call["level"] != last["level"]))
    found.append(("events", not refused <= events["refused"] <= refused + events["dropped"]))
    until, judged = {}, {keys(i): i for i in intervals}
    for i in intervals:
        found.append(("intervals", not until.get(i["medium"], 0) <= i["from_ms"] <= i["until_ms"]))
        until[i["medium"]], claimed = i["until_ms"], {}
        for p in i["parties"]:
            for place in ((p["role"], p["name"]), (p["role"], None)):
                claimed[place] = max(claimed.get(place, 0), ORDER.index(p["could"]))
        wanted = least(way, judged[keys(i)], i["passed"])
        found.append(("intervals", any(claimed.get(p, 9) > could for p, could in wanted.items())))
    false = {name for name, is_false in found if is_false}
    fresh = all(call["began"] <= exp for *_, exp in stated.values())
    whole = seal and record and part["ours"] and part["theirs"] and fresh
    return "false" if false else "proved" if whole else "missing", false

if __name__ == "__main__":
    try:
        verdict, parts = verify(read(Path(sys.argv[1]).open("rb").read(2 << 20)))
    except WRONG as e:
        verdict, parts = "no report:", [str(e)]
    print(verdict, *sorted(parts))
    sys.exit({"proved": 0, "missing": 8, "false": 5}.get(verdict, 4))
