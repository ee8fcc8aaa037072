#!/usr/bin/env python3
"""A second implementation of docs/mesh.md's handshakes and datagrams, checked against mesh.json.

Needs the package `cryptography`. Says nothing and exits 0 when every byte agrees.
"""
import hashlib
import hmac
import ipaddress
import json
import pathlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RAW = (Encoding.Raw, PublicFormat.Raw)


def mac32(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def blake(data):
    return hashlib.blake2s(data).digest()


def noise_hmac(key, data):
    return hmac.new(key, data, hashlib.blake2s).digest()


def public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(*RAW)


def agree(secret, other):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(other))


def nonce(counter):
    return bytes(4) + struct.pack("<Q", counter)


class Symmetric:
    """The Noise framework's SymmetricState for 25519, ChaChaPoly and BLAKE2s."""

    def __init__(self, prologue, responder):
        name = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
        self.h = blake(name) if len(name) > 32 else name.ljust(32, b"\0")
        self.ck = self.h
        self.mix_hash(prologue)
        self.mix_hash(responder)

    def mix_hash(self, data):
        self.h = blake(self.h + data)

    def hkdf(self, data):
        temporary = noise_hmac(self.ck, data)
        one = noise_hmac(temporary, b"\1")
        return one, noise_hmac(temporary, one + b"\2")

    def mix_key(self, data):
        self.ck, self.k = self.hkdf(data)
        self.n = 0

    def encrypt(self, text):
        sealed = ChaCha20Poly1305(self.k).encrypt(nonce(self.n), text, self.h)
        self.n += 1
        self.mix_hash(sealed)
        return sealed


def handshake(kind, cluster, members, v):
    one, two = v["initiator"], v["responder"]
    s = [bytes.fromhex(member["static_secret"]) for member in members]
    e = [bytes.fromhex(side["ephemeral_secret"]) for side in (one, two)]
    S, E = [public(key) for key in s], [public(key) for key in e]
    state = Symmetric(b"raptor/1 " + kind + cluster, S[1])
    state.mix_hash(E[0])
    state.mix_key(agree(e[0], S[1]))
    first = E[0] + state.encrypt(S[0])
    state.mix_key(agree(s[0], S[1]))
    purpose = {b"link": 1, b"session": 3}[kind]
    hello = bytes([purpose]) + bytes.fromhex(members[0]["id"])
    first += state.encrypt(hello + struct.pack(">QQB", one["timestamp"], one["boot"], one["suites"]))
    second = E[1]
    state.mix_hash(E[1])
    state.mix_key(agree(e[1], E[0]))
    state.mix_key(agree(e[1], S[0]))
    welcome = struct.pack(">QB", two["boot"], two["suite"])
    if two["observed"]:
        address, port = two["observed"].rsplit(":", 1)
        welcome += bytes(10) + b"\xff\xff" + ipaddress.ip_address(address).packed
        welcome += struct.pack(">H", int(port))
    second += state.encrypt(welcome)
    assert first.hex() == v["noise_1"] and second.hex() == v["noise_2"]
    index_1, index_2 = struct.pack(">I", one["index"]), struct.pack(">I", two["index"])
    if kind == b"session":
        initiation, response = b"\1" + index_1 + first, b"\2" + index_2 + index_1 + second
    else:
        initiation = b"\1\1\0\0" + index_1 + first
        key = hashlib.sha256(b"raptor/1 mac\0" + cluster + bytes.fromhex(members[1]["id"])).digest()
        initiation += mac32(key, initiation)[:16] + bytes(16)
        response = b"\1\2\0\0" + index_2 + index_1 + second
    assert initiation.hex() == v["initiation"] and response.hex() == v["response"]
    secrets = state.hkdf(b"")
    names = ("secret_of_initiator", "secret_of_responder")
    assert [secret.hex() for secret in secrets] == [v[name] for name in names]
    return secrets


def siphash_2_4_128(key, data):
    mask = (1 << 64) - 1
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    v[1] ^= 0xEE

    def turn(x, bits):
        return (x << bits | x >> (64 - bits)) & mask

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & mask
            v[1] = turn(v[1], 13) ^ v[0]
            v[0] = turn(v[0], 32)
            v[2] = (v[2] + v[3]) & mask
            v[3] = turn(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & mask
            v[3] = turn(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & mask
            v[1] = turn(v[1], 17) ^ v[2]
            v[2] = turn(v[2], 32)

    whole = len(data) // 8 * 8
    last = data[whole:].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for place in range(0, whole + 8, 8):
        word = struct.unpack("<Q", (data[:whole] + last)[place : place + 8])[0]
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", first, v[0] ^ v[1] ^ v[2] ^ v[3])


def carried(cluster, members, v):
    handshake_vector = v["session"]
    secret = handshake(b"session", cluster, members, handshake_vector)[0]
    suite, index = handshake_vector["responder"]["suite"], handshake_vector["responder"]["index"]
    cipher = {1: ChaCha20Poly1305, 2: AESGCM}[suite]
    key = mac32(secret, b"raptor/1 session" + bytes([suite]))
    ends = [ipaddress.ip_address(member["address"]).packed for member in members]
    bound = ends[1] + ends[0] + struct.pack(">IQ", index, v["session_counter"])
    text = bytes([v["protocol"]]) + bytes.fromhex(v["payload"])
    sealed = cipher(key).encrypt(nonce(v["session_counter"]), text, bound)
    head = b"\1\4\0\0" + struct.pack(">IQ", index, v["hop_counter"])
    route = bytes([32, 0]) + bound
    hop_key = mac32(bytes.fromhex(v["link_secret"]), b"raptor/1 hop")[:16]
    mac = siphash_2_4_128(hop_key, head + route + sealed[-16:])
    assert (head + mac + route + sealed).hex() == v["datagram"]


def main():
    v = json.loads((pathlib.Path(__file__).parent / "mesh.json").read_text())
    cluster, members = bytes.fromhex(v["cluster"]), v["members"]
    for member in members:
        seed = bytes.fromhex(member["seed"])
        identity = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(*RAW)
        address = hashlib.sha512(hashlib.sha512(identity).digest()).digest()[:16]
        assert identity.hex() == member["id"]
        assert str(ipaddress.ip_address(address)) == member["address"]
        assert public(bytes.fromhex(member["static_secret"])).hex() == member["static_public"]
    secret = handshake(b"link", cluster, members, v["link"])[0]
    transport = v["transport"]
    head = b"\1\3\0\0" + struct.pack(">IQ", v["link"]["responder"]["index"], transport["counter"])
    key = mac32(secret, b"raptor/1 control\1")
    frame = bytes.fromhex(transport["frame"])
    sealed = ChaCha20Poly1305(key).encrypt(nonce(transport["counter"]), frame, head)
    assert (head + sealed).hex() == transport["datagram"]
    challenge = v["challenge"]
    salt, cookie = bytes.fromhex(challenge["salt"]), bytes.fromhex(challenge["cookie"])
    base = hashlib.sha256(b"raptor/1 cookie\0" + cluster + bytes.fromhex(members[1]["id"])).digest()
    key = mac32(base, salt + bytes.fromhex(challenge["mac_of_initiation"]))
    datagram = b"\1\5\0\0" + struct.pack(">I", v["link"]["initiator"]["index"]) + salt
    datagram += ChaCha20Poly1305(key).encrypt(bytes(12), cookie, None)
    assert datagram.hex() == challenge["datagram"]
    assert mac32(cookie, b"abc")[:16].hex() == challenge["proof_over_text_abc"]
    for vector in v["carried"]:
        carried(cluster, members, vector)


main()
