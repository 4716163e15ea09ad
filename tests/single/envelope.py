"""The envelope file as the guide's listing reads and writes it (chapter 3), for Python 3, with PyCryptodome.

In the current directory: key is the data key in base64. `open` reads plain.cipher and writes opened; `seal` reads plain
and writes theirs.cipher, with the wrapped key of plain.cipher.
"""

import base64
import sys

from Crypto.Cipher import AES

with open("key", "rb") as file:
    key = base64.b64decode(file.read())
with open("plain.cipher", "rb") as file:
    lines = file.readlines()

if sys.argv[1] == "open":
    nonce, ciphertext, tag = (base64.b64decode(line) for line in lines[1:])
    plain = AES.new(key, AES.MODE_EAX, nonce=nonce).decrypt_and_verify(ciphertext, tag)
    with open("opened", "wb") as file:
        file.write(plain)
else:
    cipher = AES.new(key, AES.MODE_EAX)
    with open("plain", "rb") as file:
        ciphertext, tag = cipher.encrypt_and_digest(file.read())
    with open("theirs.cipher", "wb") as file:
        file.write(lines[0])
        for part in (cipher.nonce, ciphertext, tag):
            file.write(base64.b64encode(part) + b"\n")
